"""Checkpoints converted once: a GGUF file in the cache for each state of a folder."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from lightkorllm import embedded

log = logging.getLogger(__name__)

VERSION = "1"  # of our conversion: another one converts anew
_PATTERNS = ("*.json", "*.jinja", "*.safetensors")
_BYTES_PER_SECOND = 150e6


def cached(folder: Path) -> Path:
    """The GGUF file of a checkpoint folder, made on first use and whenever the folder changes.

    Two processes may do it at once: each writes its own draft, and the last one is kept.
    Raises what `to_gguf` raises.
    """
    folder = folder.resolve()
    target = _target(folder)
    if target.is_file():
        return target
    from lightkorllm import repacking

    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    log.warning(
        "%s 모델을 llama.cpp에서 쓰도록 한 번 옮겨 적습니다(%.0f초쯤): %s",
        folder.name, 2 + size / _BYTES_PER_SECOND, target,
    )  # fmt: skip
    started = time.monotonic()
    done = repacking.to_gguf(folder, target, overwrite=True)
    log.info("%.1f초에 옮겼습니다. %s", time.monotonic() - started, " ".join(done.notes))
    _forget_older(target)
    return target


def cached_adapter(folder: Path, *, base: Path) -> Path:
    """The GGUF file of a PEFT adapter trained on `base`, as `cached` is of a model."""
    folder = folder.resolve()
    target = _target(folder, beside=str(base.resolve()))
    if not target.is_file():
        from lightkorllm import repacking

        repacking.adapter_to_gguf(folder, target, base=base, overwrite=True)
    return target


def _target(folder: Path, *, beside: str = "") -> Path:
    place = hashlib.sha256(f"{folder}{beside}".encode()).hexdigest()[:8]
    state = hashlib.sha256(VERSION.encode())
    for file in sorted(path for pattern in _PATTERNS for path in folder.glob(pattern)):
        stat = file.stat()
        state.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    name = f"{folder.name}-{place}-{state.hexdigest()[:12]}.gguf"
    return embedded.cache_folder() / "gguf" / name


def _forget_older(target: Path) -> None:
    """Remove what earlier states of the same folder left, unless something still reads it."""
    family = target.name.rsplit("-", 1)[0]
    for file in target.parent.glob("*"):
        kept = file.name.startswith(target.stem)
        if file.name.startswith(f"{family}-") and not kept and not file.name.endswith(".part"):
            try:
                file.unlink()
            except OSError as error:
                log.debug("%s stays: %s", file, error)
