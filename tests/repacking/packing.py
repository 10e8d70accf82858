"""GPTQ's layout done slowly and plainly, bit by bit: the other side of every comparison."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """A layer as a checkpoint holds it, and what its weights are meant to be [out, in]."""

    tensors: dict[str, Numbers]
    weights: Numbers


def pack(
    codes: Numbers,
    zeros: Numbers,
    scales: Numbers,
    groups: Sequence[int] | Numbers,
    *,
    bits: int,
    version: int = 1,
) -> Packed:
    """codes [out, in], zeros and scales [out, groups] → a layer's tensors."""
    stored = zeros.astype(np.int64).T
    if version == 1:
        stored = _minus_one(stored, bits)
    tensors = {
        "qweight": _words(codes.T, bits).T.copy(),
        "qzeros": _words_along(stored, bits),
        "scales": scales.T.copy(),
        "g_idx": np.array(groups, np.int32),
    }
    at = np.array(groups)
    weights = scales.astype(np.float32)[:, at] * (codes - zeros[:, at]).astype(np.float32)
    return Packed(tensors, weights)


def unpack(tensors: dict[str, Numbers], *, bits: int, version: int = 1) -> Numbers:
    """A layer's weights [out, in] in float32, number by number out of Python's own integers."""
    codes = np.array([_numbers(column, bits) for column in tensors["qweight"].T])
    outof = len(codes)
    whole_words = version == 1 and 32 % bits == 0
    one = _ones(bits) if whole_words else 0
    rows = [[(int(word) + one) % (1 << 32) for word in row] for row in tensors["qzeros"]]
    zeros = np.array([_numbers(row, bits)[:outof] for row in rows])
    if version == 1 and not whole_words:
        zeros = (zeros + 1) % (1 << bits)
    at = tensors["g_idx"]
    scales = tensors["scales"].astype(np.float32)
    weights: Numbers = scales.T[:, at] * (codes - zeros.T[:, at]).astype(np.float32)
    return weights


def _ones(bits: int) -> int:
    return sum(1 << at for at in range(0, 32, bits))


def _numbers(words: Sequence[int] | Numbers, bits: int) -> list[int]:
    whole = sum(int(word) % (1 << 32) << (32 * place) for place, word in enumerate(words))
    return [whole >> (bits * n) & ((1 << bits) - 1) for n in range(len(words) * 32 // bits)]


def _words(columns: Numbers, bits: int) -> Numbers:
    """[n, m] numbers → [m, n·bits/32] words, each column one stream of bits."""
    return np.array([_stream(column, bits) for column in columns.T])


def _words_along(rows: Numbers, bits: int) -> Numbers:
    return np.array([_stream(row, bits) for row in rows])


def _stream(numbers: Numbers, bits: int) -> Numbers:
    whole = sum(int(number) << (bits * place) for place, number in enumerate(numbers))
    count = -(-len(numbers) * bits // 32)
    words = [whole >> (32 * place) & 0xFFFFFFFF for place in range(count)]
    return np.array(words, np.uint32).view(np.int32)


def _minus_one(zeros: Numbers, bits: int) -> Numbers:
    """GPTQModel takes one from all zeros of a 32-bit word at once, borrows and all."""
    if 32 % bits:
        return (zeros - 1) % (1 << bits)
    per, ones = 32 // bits, _ones(bits)
    result = zeros.copy()
    for row in result:
        for start in range(0, len(row), per):
            part = row[start : start + per]
            word = sum(int(number) << (bits * place) for place, number in enumerate(part))
            word = (word - ones) % (1 << 32)
            row[start : start + per] = [
                word >> (bits * place) & ((1 << bits) - 1) for place in range(len(part))
            ]
    return result


def rounded(weights: Numbers, group: int, *, bits: int = 4, asymmetric: bool = False) -> Packed:
    """A layer [out, in] rounded to the nearest of its grid, scales in float16."""
    outof, into = weights.shape
    size = into if group < 1 else group
    parts = weights.reshape(outof, -1, size).astype(np.float32)
    top, middle = (1 << bits) - 1, 1 << (bits - 1)
    if asymmetric:
        low, high = parts.min(-1).clip(max=0), parts.max(-1).clip(min=0)
        scales = ((high - low) / top).astype(np.float16)
        zeros = np.round(-low / scales).clip(0, top).astype(np.int64)
    else:
        scales = (np.abs(parts).max(-1) / (middle - 1)).astype(np.float16)
        zeros = np.full(scales.shape, middle)
    codes = np.round(parts / scales[..., None].astype(np.float32)) + zeros[..., None]
    codes = codes.clip(0, top).astype(np.int64).reshape(outof, into)
    return pack(codes, zeros, scales, np.arange(into) // size, bits=bits)


def checkpoint(plain: Path, folder: Path, *, group: int = 32, **settings: Any) -> dict[str, Packed]:
    """The plain folder with its layers rounded, as a GPTQ folder; its layers by name."""
    from safetensors.numpy import load_file, save_file

    folder.mkdir(parents=True)
    for file in plain.glob("*.json"):
        shutil.copy(file, folder)
    asymmetric, bits = not settings.get("sym", True), settings.get("bits", 4)
    layers: dict[str, Packed] = {}
    tensors: dict[str, Numbers] = {}
    for name, weight in load_file(plain / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            layer = name.removesuffix(".weight")
            layers[layer] = rounded(weight, group, bits=bits, asymmetric=asymmetric)
            tensors |= {f"{layer}.{part}": data for part, data in layers[layer].tensors.items()}
        else:
            tensors[name] = weight
    save_file(tensors, folder / "model.safetensors")
    declare(folder, group=group, **settings)
    return layers


def declare(folder: Path, *, group: int, **settings: Any) -> None:
    """Say in config.json that the folder is GPTQ."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = {
        "quant_method": "gptq", "bits": 4, "group_size": group, "sym": True, "desc_act": False,
        "checkpoint_format": "gptq", "meta": {"quantizer": ["gptqmodel:7.7.0"]}, **settings,
    }  # fmt: skip
    path.write_text(json.dumps(config), encoding="utf-8")
