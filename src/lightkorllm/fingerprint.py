"""What tells one base model from another: a digest of shapes, sizes and samples of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lightkorllm import checkpoint, gguf_header

_SAMPLE = 64 * 1024
_SAMPLES = 16  # of each file, evenly apart: two trainings of one model differ everywhere


def fingerprint(model: Path) -> str:
    """64 hex digits that name the weights of a checkpoint folder or a GGUF file.

    They stay when the model is moved, renamed or described anew, and change with any tensor's
    name, type or shape and with the numbers. At most a MiB of each file is read.
    Raises `ModelNotFound` or `ModelBroken` for what is no model.
    """
    digest = hashlib.sha256()
    for part in _tensors(model):
        digest.update(f"{part}\n".encode())
    for file, start in _weights(model):
        for sample in _samples(file, start):
            digest.update(sample)
    return digest.hexdigest()


def _tensors(model: Path) -> list[str]:
    if _is_gguf(model):
        return sorted(f"{name} {shape}" for name, shape in gguf_header.read(model).tensors.items())
    tensors = checkpoint.read(model).tensors
    return sorted(f"{name} {tensor.dtype} {tensor.shape}" for name, tensor in tensors.items())


def _weights(model: Path) -> Iterator[tuple[Path, int]]:
    """Each file of weights, and where in it they begin."""
    if _is_gguf(model):
        yield model, gguf_header.read(model).data_start
        return
    for file in checkpoint.read(model).weights:
        starts = [tensor.start for tensor in checkpoint.read_header(file).values()]
        yield file, min(starts, default=0)


def _samples(file: Path, start: int) -> Iterator[bytes]:
    size = file.stat().st_size
    yield str(size - start).encode()
    with file.open("rb") as data:
        for number in range(_SAMPLES):
            data.seek(start + max(0, size - start - _SAMPLE) * number // (_SAMPLES - 1))
            yield data.read(_SAMPLE)


def _is_gguf(model: Path) -> bool:
    return model.suffix.lower() == ".gguf"
