"""Numbers of a checkpoint's tensors, mapped from the file and read as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightkorllm.checkpoint import Tensor
from lightkorllm.errors import ModelBroken

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Rows: TypeAlias = NDArray[np.intp]

BLOCK = 1 << 22  # weights that are in memory as float32 at one time
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I32": "<i4", "I64": "<i8"}


def mapped(tensor: Tensor) -> NDArray[Any]:
    """The tensor as it lies in its file; bfloat16 as the 16 bits of each number."""
    if tensor.dtype not in _TYPES:
        raise ModelBroken(f"{tensor.file}에 다룰 수 없는 자료형({tensor.dtype})이 있습니다.")
    if tensor.size == 0:
        return np.empty(tensor.shape, dtype=_TYPES[tensor.dtype])
    raw = np.memmap(tensor.file, np.uint8, "r", offset=tensor.start, shape=(tensor.size,))
    return raw.view(_TYPES[tensor.dtype]).reshape(tensor.shape)


def floats(tensor: Tensor) -> Floats:
    """All numbers of a tensor as float32, which holds float16 and bfloat16 exactly."""
    return _as_floats(tensor, mapped(tensor))


def row_blocks(tensor: Tensor, order: Rows | None = None) -> Iterator[Floats]:
    """The rows of a matrix as float32, some at a time, in another order where one is given."""
    matrix = mapped(tensor)
    step = max(1, BLOCK // max(1, matrix.shape[-1]))
    for start in range(0, matrix.shape[0], step):
        chosen = slice(start, start + step) if order is None else order[start : start + step]
        yield _as_floats(tensor, matrix[chosen])


def _as_floats(tensor: Tensor, numbers: NDArray[Any]) -> Floats:
    if tensor.dtype == "BF16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32)
