"""Number formats of GGUF by name, and which of them a tensor gets.

Mixtures (`q4_k_m` …) give the tensors that matter most a wider format, as llama.cpp's quantiser
does; its K formats are made by the package `libgguf`, the others by `gguf`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import gguf
import numpy as np

from lightkorllm.checkpoint import Tensor
from lightkorllm.errors import MissingPackage, OptionError
from lightkorllm.repacking.weights import Bytes, Floats, row_blocks

Kind: TypeAlias = gguf.GGMLQuantizationType
_SINGLE = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
_NARROW = {Kind.Q6_K: Kind.Q8_0, Kind.Q5_K: Kind.Q5_1, Kind.Q4_K: Kind.Q5_0}


@dataclass(frozen=True)
class Mixture:
    """`plain` for most matrices, `wide` for those that lose most."""

    plain: Kind
    wide: Kind


_MIXTURES = {
    "q4_k_m": Mixture(Kind.Q4_K, Kind.Q6_K),
    "q5_k_m": Mixture(Kind.Q5_K, Kind.Q6_K),
    "q6_k": Mixture(Kind.Q6_K, Kind.Q6_K),
}
NAMES = (*_SINGLE, *_MIXTURES)


def require_known(name: str) -> None:
    """Raises `OptionError` for an unknown format, `MissingPackage` for one that can't be made."""
    if name not in NAMES:
        raise OptionError(
            "--type", f"{name!r}은(는) 없습니다. 쓸 수 있는 값: auto, {', '.join(NAMES)}"
        )
    if name in _MIXTURES:
        try:
            import libgguf  # noqa: F401
        except ImportError:
            raise MissingPackage(f"{name} 형식을 만드는 libgguf가", extra="gptq") from None


def named(name: str) -> Kind:
    """The single format of that name."""
    return gguf.GGMLQuantizationType[name.upper()]


def file_type(wanted: str, mostly: Kind) -> int:
    """`general.file_type`: the mixture asked for, else the format of most weights."""
    name = wanted.upper() if wanted in _MIXTURES else mostly.name
    return int(gguf.LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"])


def of_matrix(name: str, tensor: str, *, width: int, layers: int, output: bool) -> Kind:
    """The format of GGUF tensor `tensor` under format or mixture `name`; `output`: the last one."""
    if name in _SINGLE:
        return _fitting(named(name), width)
    mixture = _MIXTURES[name]
    return _fitting(mixture.wide if output or _matters(tensor, layers) else mixture.plain, width)


def _matters(tensor: str, layers: int) -> bool:
    """Values and down-projections of the first and last eighth, and of every third layer."""
    found = re.match(r"blk\.(\d+)\.(attn_v|ffn_down)\.", tensor)
    if not found:
        return False
    number, edge = int(found[1]), layers // 8
    return number < edge or number >= 7 * layers // 8 or (number - edge) % 3 == 2


def _fitting(kind: Kind, width: int) -> Kind:
    """The format itself, or the next wider one whose blocks divide a row."""
    while width % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = _NARROW.get(kind, Kind.F16)
    return kind


def holding(tensor: Tensor) -> Kind:
    """The cheapest of F16, BF16 and F32 that holds every number of a tensor as it is."""
    kinds = [Kind.F16, Kind.BF16]
    for block in row_blocks(tensor):
        kinds = [
            kind for kind in kinds if np.array_equal(decoded(encoded(block, kind), kind), block)
        ]
        if not kinds:
            return Kind.F32
    return kinds[0]


def encoded(numbers: Floats, kind: Kind) -> Bytes:
    """Rows of numbers in a format, as bytes."""
    with np.errstate(over="ignore"):
        if "_K" in kind.name:
            import libgguf

            rows = libgguf.quantize_rows(np.ascontiguousarray(numbers), int(kind))
        else:
            rows = gguf.quants.quantize(numbers, kind)
    data: Bytes = np.ascontiguousarray(rows).view(np.uint8).reshape(len(numbers), -1)
    return data


def decoded(data: Bytes, kind: Kind) -> Floats:
    """The numbers that bytes of a format stand for."""
    if kind in (Kind.F32, Kind.F16):
        return data.view("<f4" if kind == Kind.F32 else "<f2").astype(np.float32)
    numbers: Floats = gguf.quants.dequantize(data, kind)
    return numbers
