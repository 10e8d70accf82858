"""The base of a fine-tuning: found by name, described by its headers, loaded so that it learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightkorllm import checkpoint, embedded, evaluation, gguf_header, hub, pretrained
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelNotFound

Kernel = Literal["plain", "unpacked", "packed"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on: sizes of one decoder layer, their number, and the vocabulary.

    `parameters` counts all weights, `stored` the bytes that they take as they lie on disk.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    stored: int


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
    path = hub.resolve(model)
    if path.suffix.lower() == ".gguf":
        return _gguf(path, path.stem)
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if files and not checkpoint.is_checkpoint(path):
        if len(files) > 1:
            raise ModelNotFound(f"{path} 폴더에 GGUF가 여럿입니다. 파일 하나를 골라 주세요.")
        return _gguf(files[0], files[0].stem)
    found = checkpoint.read(path)
    pretrained.require_no_remote_code(found)
    name = model if hub.is_name(model) and not Path(model).exists() else hub.name_of(path)
    return Base(path, name, found.model_type, _shape(found), found)


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


def _shape(found: Checkpoint) -> Shape:
    config = found.text_config
    hidden = int(config.get("hidden_size", 0))
    heads = int(config.get("num_attention_heads", 1))
    return Shape(
        hidden=hidden,
        intermediate=int(config.get("intermediate_size", 4 * hidden)),
        layers=int(config.get("num_hidden_layers", 0)),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or hidden // max(1, heads)),
        vocabulary=int(config.get("vocab_size", 0)),
        parameters=found.parameters,
        stored=found.size,
    )


def _gguf(path: Path, name: str) -> Base:
    header = gguf_header.read(path)
    return Base(path, name, header.architecture, _gguf_shape(header, path.stat().st_size))


def _gguf_shape(header: gguf_header.GgufHeader, size: int) -> Shape:
    def number(key: str, default: int = 0) -> int:
        return int(header.metadata.get(f"{header.architecture}.{key}") or default)

    hidden, heads = number("embedding_length"), number("attention.head_count", 1)
    parameters = 0
    for shape in header.tensors.values():
        count = 1
        for width in shape:
            count *= width
        parameters += count
    return Shape(
        hidden=hidden,
        intermediate=number("feed_forward_length", 4 * hidden),
        layers=number("block_count"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_dim=number("attention.key_length", hidden // max(1, heads)),
        vocabulary=max((shape[0] for name, shape in header.tensors.items() if "embd" in name),
                       default=0),
        parameters=parameters,
        stored=size,
    )  # fmt: skip
