"""GPTQ's packed layers taken apart: integer codes, zero points and scales.

Layout, as AutoGPTQ and GPTQModel write it: `qweight` int32 [in·bits/32, out] is one stream of bits
down each column, `qzeros` int32 [groups, out·bits/32] one along each row, lowest bits first;
`scales` [groups, out]; input column i belongs to group `g_idx[i]`;
weight[out, in] = scale · (code − zero). Format 1 stores each zero minus one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightkorllm.checkpoint import Checkpoint, Gptq
from lightkorllm.errors import ModelBroken
from lightkorllm.repacking.weights import Bytes, Floats, Rows, floats, mapped


@dataclass(frozen=True)
class Grid:
    """What surrounds the codes of a linear layer: scales and zeros [out, groups].

    `groups` says which group an input column belongs to.
    """

    bits: int
    group_size: int
    groups: NDArray[np.intp]
    scales: Floats
    zeros: NDArray[np.int16]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the layer."""
        return len(self.scales), len(self.groups)

    @property
    def in_order(self) -> bool:
        """Whether groups follow each other in equal runs, as the blocks of GGUF do."""
        return bool((self.groups == np.arange(len(self.groups)) // self.group_size).all())


@dataclass(frozen=True)
class Layer:
    """One linear layer: its grid and its codes [out, in]."""

    grid: Grid
    codes: Bytes

    def steps(self) -> NDArray[np.int16]:
        """code − zero for every weight [out, in]."""
        steps = self.codes.astype(np.int16)
        steps -= self.grid.zeros[:, self.grid.groups]
        return steps

    def weights(self) -> Floats:
        """scale · (code − zero) in float32 [out, in]."""
        return self.grid.scales[:, self.grid.groups] * self.steps()

    def rows(self, order: Rows | None) -> Layer:
        """The same layer with its output rows in another order."""
        if order is None:
            return self
        grid = replace(self.grid, scales=self.grid.scales[order], zeros=self.grid.zeros[order])
        return Layer(grid, self.codes[order])


def grid(checkpoint: Checkpoint, name: str) -> Grid:
    """The grid of layer `name` of a GPTQ checkpoint. Raises `ModelBroken` where it doesn't fit."""
    gptq, tensors = checkpoint.gptq, checkpoint.tensors
    assert gptq is not None
    words, rows = tensors[f"{name}.qweight"].shape
    width = words * 32 // gptq.bits
    size = gptq.group_size if gptq.group_size > 0 else width
    groups = np.arange(width) // size
    if f"{name}.g_idx" in tensors:
        groups = mapped(tensors[f"{name}.g_idx"]).astype(np.intp)
    scales = floats(tensors[f"{name}.scales"])
    zeros = _zeros(checkpoint, name, gptq)[:, :rows]
    if scales.shape != zeros.shape or scales.shape[1] != rows or not np.isfinite(scales).all():
        raise ModelBroken(f"{checkpoint.folder}의 {name} 층의 scales나 qzeros가 올바르지 않습니다.")
    if len(groups) != width or groups.min() < 0 or groups.max() >= len(scales):
        raise ModelBroken(f"{checkpoint.folder}의 {name} 층의 g_idx가 가중치와 맞지 않습니다.")
    scales, zeros = np.ascontiguousarray(scales.T), np.ascontiguousarray(zeros.T)
    return Grid(gptq.bits, size, groups, scales, zeros)


def layer(checkpoint: Checkpoint, name: str) -> Layer:
    """Layer `name` of a GPTQ checkpoint, unpacked."""
    around = grid(checkpoint, name)
    words = mapped(checkpoint.tensors[f"{name}.qweight"]).T
    return Layer(around, _codes(words, around.bits))


def _zeros(checkpoint: Checkpoint, name: str, gptq: Gptq) -> NDArray[np.int16]:
    stored = checkpoint.tensors.get(f"{name}.qzeros")
    if stored is None:
        raise ModelBroken(f"{checkpoint.folder}의 {name} 층에 qzeros가 없습니다.")
    words = mapped(stored)
    if gptq.version == 1 and 32 % gptq.bits == 0:
        # GPTQModel subtracts over whole words, so that a zero of 0 borrows from its neighbour
        ones = sum(1 << at for at in range(0, 32, gptq.bits))
        words = words.view(np.uint32) + np.uint32(ones)
    zeros = _codes(words, gptq.bits).astype(np.int16)
    if gptq.version == 1 and 32 % gptq.bits:
        zeros = (zeros + 1) & ((1 << gptq.bits) - 1)
    return zeros


def _codes(words: NDArray[Any], bits: int) -> Bytes:
    """The numbers of `bits` bits that a row of 32-bit words holds, lowest bits first."""
    stream = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return np.asarray(stream, np.uint8)
    if bits == 4:
        codes = np.empty((stream.shape[0], stream.shape[1] * 2), np.uint8)
        np.bitwise_and(stream, 15, out=codes[:, 0::2])
        np.right_shift(stream, 4, out=codes[:, 1::2])
        return codes
    single = np.unpackbits(stream, axis=1, bitorder="little")
    single = single[:, : single.shape[1] // bits * bits].reshape(len(stream), -1, bits)
    values: Bytes = (single << np.arange(bits, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
    return values
