"""Checkpoints for llama.cpp: GPTQ folders become GGUF with not one weight changed.

Also plain folders in the number format asked for, and PEFT's LoRA folders as GGUF adapters.
numpy and gguf are loaded when something is converted.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lightkorllm import checkpoint, lora
from lightkorllm.errors import MissingPackage, OptionError
from lightkorllm.repacking.cache import cached, cached_adapter
from lightkorllm.repacking.result import Repacked

__all__ = [
    "Repacked",
    "adapter_to_gguf",
    "base_of",
    "cached",
    "cached_adapter",
    "is_adapter",
    "to_gguf",
]


def to_gguf(
    folder: Path,
    target: Path,
    *,
    kind: str = "auto",
    embedding: str = "auto",
    overwrite: bool = False,
) -> Repacked:
    """Write the checkpoint in `folder` as the GGUF file `target`, whole or not at all.

    `kind` is the format of the layers: `auto` keeps a GPTQ checkpoint's weights and a plain one's
    numbers as they are; others (`q8_0`, `q4_k_m` …) requantise. `embedding` is that of the
    embedding and output matrix: `exact` loses nothing, and `auto` neither unless it is more than
    half of a GPTQ model; then it is Q8_0, and a note says so.
    The record goes beside the file. Raises `ModelBroken` for what llama.cpp would not compute the
    same way, `OptionError` for a bad format or an existing file, `MissingPackage`.
    """
    _require_ready(target, overwrite=overwrite)
    from lightkorllm.repacking import conversion

    return conversion.to_gguf(folder, target, kind=kind, embedding=embedding)


def adapter_to_gguf(folder: Path, target: Path, *, base: Path, overwrite: bool = False) -> Repacked:
    """Write a PEFT LoRA folder as a GGUF adapter for `base`, a checkpoint folder or a GGUF file.

    Raises as `to_gguf` does, and where the adapter is of a kind that llama.cpp has not or does
    not fit the base, with names and shapes.
    """
    _require_ready(target, overwrite=overwrite)
    from lightkorllm.repacking import adapters

    return adapters.to_gguf(folder, target, base=base)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter rather than a model."""
    return lora.is_folder(folder)


def base_of(folder: Path) -> str:
    """The path or name of the model that an adapter was trained on. Raises `OptionError`."""
    base = checkpoint.read_json(folder / lora.CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise OptionError("--base", f"{folder}에 적혀 있지 않습니다. 모델의 폴더를 주세요")
    return base


def _require_ready(target: Path, *, overwrite: bool) -> None:
    for name in ("numpy", "gguf"):
        if importlib.util.find_spec(name) is None:
            raise MissingPackage(f"GGUF를 만드는 {name}이", extra="gptq")
    if target.exists() and not overwrite:
        raise OptionError("--output", f"{target} 파일이 이미 있습니다. --overwrite로 덮어씁니다")
