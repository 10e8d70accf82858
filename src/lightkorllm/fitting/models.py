"""The model that is asked about, wherever it is: on disk, embedded, or on the hub unfetched."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from lightkorllm import checkpoint, gguf_header, hub, shape
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import LightKorError, ModelNotFound
from lightkorllm.finetuning import base as bases
from lightkorllm.finetuning.base import Base

_HEAD = 1 << 18  # bytes of a weight file that most headers lie within
_LONGEST_GGUF = 1 << 26  # bytes; a vocabulary of 262,144 takes about 8 MB


def find(model: str) -> Base:
    """The model of that path, repository or catalogue's name; "" and `embedded` are the embedded.

    Of a repository that isn't here only settings and headers are fetched. Raises
    `ModelNotFound`, `ModelBroken` or `MissingPackage`.
    """
    if model in ("", "embedded"):
        return bases.find(None)
    name = hub.repository(model)
    found = bases.find(model) if name is None else _kept(name) or _remote(name)
    return replace(found, name=model)  # as it is called, so that our advice can be typed


def _kept(name: str) -> Base | None:
    """The repository as it was fetched before, where its weights were too."""
    folder = hub.kept(name)
    if folder is None:
        return None
    try:
        return _of_checkpoint(checkpoint.read(folder), name)
    except LightKorError:
        return None


def _remote(name: str) -> Base:
    sizes = hub.files(name)
    ggufs = [file for file in sizes if file.lower().endswith(".gguf")]
    if ggufs and not any(file.endswith(".safetensors") for file in sizes):
        return _remote_gguf(name, hub.usual_gguf(name, ggufs), sizes)
    folder = hub.fetch_settings(name)
    headers = {
        file: _header(name, file, sizes[file.name])
        for file in checkpoint.weight_files(folder, sizes)
    }
    return _of_checkpoint(checkpoint.from_headers(folder, headers), name)


def _of_checkpoint(found: Checkpoint, name: str) -> Base:
    return Base(found.folder, name, found.model_type, shape.of_checkpoint(found), found)


def _header(name: str, file: Path, size: int) -> dict[str, checkpoint.Tensor]:
    """The tensors of a weight file on the hub: its first bytes, and more where those don't do."""
    start = hub.first_bytes(name, file.name, _HEAD)
    length = 8 + int.from_bytes(start[:8], "little")
    if len(start) < length < size:
        start = hub.first_bytes(name, file.name, length)
    return checkpoint.parse_header(io.BytesIO(start), file, size=size)


def _remote_gguf(name: str, file: str, sizes: dict[str, int]) -> Base:
    count, header = 1 << 20, None
    while header is None and count <= _LONGEST_GGUF:
        header = gguf_header.parse(hub.first_bytes(name, file, count))
        count *= 4
    if header is None:
        raise ModelNotFound(f"{name}/{file}의 머리말이 너무 깁니다. 내려받아 그 경로를 주세요.")
    return Base(Path(file), name, header.architecture, shape.of_gguf(header, sizes[file]))
