"""The base of a fine-tuning: found by name, described by its headers, loaded so that it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightkorllm import checkpoint, embedded, evaluation, gguf_header, hub, pretrained, shape
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelNotFound
from lightkorllm.shape import Shape

Kernel = Literal["plain", "unpacked", "packed"]


@dataclass(frozen=True, slots=True)
class Base:
    """A base model on disk: a GGUF file, or a folder that `checkpoint` describes."""

    path: Path
    name: str
    model_type: str
    shape: Shape
    checkpoint: Checkpoint | None = None

    @property
    def is_gptq(self) -> bool:
        return self.checkpoint is not None and self.checkpoint.gptq is not None


def find(model: str | None) -> Base:
    """The base that `--base_model_dir` names; None is the embedded model.

    Raises `ModelNotFound` or `ModelBroken`.
    """
    if model is None:
        return _gguf(embedded.path(), embedded.NAME)
    path = hub.resolve_model(model)
    if path.suffix.lower() == ".gguf":
        return _gguf(path, path.stem)
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if files and not checkpoint.is_checkpoint(path):
        if len(files) > 1:
            raise ModelNotFound(f"{path} 폴더에 GGUF가 여럿입니다. 파일 하나를 골라 주세요.")
        return _gguf(files[0], files[0].stem)
    found = checkpoint.read(path)
    pretrained.require_no_remote_code(found)
    name = hub.repository(model) or hub.name_of(path)
    return Base(path, name, found.model_type, shape.of_checkpoint(found), found)


def load_tokenizer(base: Base) -> Any:
    """Its tokenizer alone."""
    if base.checkpoint is None:
        return pretrained.load_gguf_tokenizer(base.path)
    return pretrained.load_tokenizer(base.path)


def load(base: Base, *, device: str, dtype: str, kernel: Kernel) -> tuple[Any, str]:
    """The model in memory and the name of what multiplies its weights.

    Weights that are `unpacked` are GPTQ's own numbers in plain matrices: any CPU or card has a
    fast backward pass for those. `packed` ones stay packed; of GPTQModel's kernels one that has a
    backward pass is taken. Raises `ModelBroken` and `MissingPackage`.
    """
    if base.checkpoint is None:
        model, _ = pretrained.load_gguf(base.path, device=device, dtype=dtype)
        return model, f"torch {dtype}"
    if kernel == "packed":
        model = pretrained.load_model(
            base.checkpoint, device=device, dtype=dtype, backend="auto_trainable"
        )
        return model, f"GPTQModel {_kernel_name(model)} {dtype}"
    model = evaluation.plain_model(base.checkpoint, device=device, dtype=dtype)
    return model, f"torch {dtype}" + (" (GPTQ 값을 풀어서)" if base.is_gptq else "")


def _kernel_name(model: Any) -> str:
    kinds = (type(module).__name__ for module in model.modules() if hasattr(module, "qweight"))
    return next(kinds, "?")


def _gguf(path: Path, name: str) -> Base:
    header = gguf_header.read(path)
    return Base(path, name, header.architecture, shape.of_gguf(header, path.stat().st_size))
