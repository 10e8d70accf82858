"""A GPTQ layer as GGUF blocks: the same numbers in another order of bits.

A block holds 32 neighbours of a row. Q4_0: fp16 scale d, then 16 bytes whose low nibbles are
weights 0–15 and whose high ones are 16–31, weight = d · (nibble − 8). Q4_1 has an fp16 offset m
after d, weight = d · nibble + m. Q8_0: d and 32 signed bytes, weight = d · byte.
Source: ggml/src/ggml-common.h and ggml-quants.c of llama.cpp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightkorllm.repacking.gptq import Grid, Layer
from lightkorllm.repacking.weights import Bytes

SIZE = 32


def misfit(grid: Grid) -> str | None:
    """Why a layer's groups cannot be told by blocks of 32, in Korean; None where they can."""
    if not grid.in_order:
        return "활성값 순서(desc_act)로 양자화되어 묶음이 흩어져 있습니다"
    if grid.group_size % SIZE:
        return f"group_size {grid.group_size}이(가) {SIZE}의 배수가 아닙니다"
    if grid.shape[1] % SIZE:
        return f"폭 {grid.shape[1]}이(가) {SIZE}의 배수가 아닙니다"
    return None


def natural_kind(grid: Grid) -> str:
    """The kind that a layer whose groups fit is written as: exact unless it is q4_1.

    code − zero of up to 3 bits always fits in Q4_0's −8 … 7.
    """
    middle = bool((grid.zeros == 1 << grid.bits - 1).all())
    if grid.bits == 8:
        return "q8_0" if middle else "f16"
    return "q4_0" if middle or grid.bits < 4 else "q4_1"


def usable_kinds(grid: Grid) -> set[str]:
    """Kinds whose blocks hold each code of the layer as it is, and the natural one."""
    natural = natural_kind(grid)
    return {natural, "q8_0"} & set(WRITERS) if grid.bits < 8 else {natural} & set(WRITERS)


def q4_0(layer: Layer) -> tuple[Bytes, float]:
    """Block bytes [out, bytes] and the largest change of a weight, from scales beyond fp16."""
    steps = layer.steps()
    nibbles = (steps + 8).astype(np.uint8)
    return _joined([_scales(layer.grid)], _nibbles(nibbles)), _change(layer.grid, np.abs(steps))


def q8_0(layer: Layer) -> tuple[Bytes, float]:
    """Block bytes [out, bytes] and the largest change of a weight, from scales beyond fp16."""
    steps = layer.steps()
    signed = steps.astype(np.int8).view(np.uint8).reshape(len(steps), -1, SIZE)
    return _joined([_scales(layer.grid)], signed), _change(layer.grid, np.abs(steps))


def q4_1(layer: Layer) -> tuple[Bytes, float]:
    """Block bytes [out, bytes] and the largest change of a weight: offsets are rounded to fp16."""
    grid = layer.grid
    scales = _scales(grid)
    offsets = (-grid.scales * grid.zeros)[:, grid.groups[::SIZE]].astype(np.float16)
    data = _joined([scales, offsets], _nibbles(layer.codes))
    got = scales.astype(np.float32).repeat(SIZE, axis=1) * layer.codes
    got += offsets.astype(np.float32).repeat(SIZE, axis=1)
    return data, float(np.abs(got - layer.weights()).max())


WRITERS = {"q4_0": q4_0, "q4_1": q4_1, "q8_0": q8_0}


def _scales(grid: Grid) -> NDArray[np.float16]:
    """The fp16 scale of each block [out, in/32]; one group's is repeated."""
    with np.errstate(over="ignore"):
        return grid.scales[:, grid.groups[::SIZE]].astype(np.float16)


def _change(grid: Grid, steps: NDArray[np.int16]) -> float:
    largest = steps.reshape(len(steps), -1, SIZE).max(axis=2)
    lost = np.abs(_scales(grid).astype(np.float32) - grid.scales[:, grid.groups[::SIZE]])
    return float((lost * largest).max())


def _nibbles(codes: Bytes) -> Bytes:
    blocks = codes.reshape(len(codes), -1, SIZE)
    return blocks[..., : SIZE // 2] | np.left_shift(blocks[..., SIZE // 2 :], 4, dtype=np.uint8)


def _joined(heads: list[NDArray[np.float16]], body: Bytes) -> Bytes:
    """Block after block: its fp16 numbers, then its bytes."""
    numbers = np.stack(heads, axis=-1).astype("<f2")
    front = numbers.view(np.uint8).reshape(*body.shape[:2], -1)
    return np.concatenate([front, body], axis=2).reshape(len(body), -1)
