"""Families of models that can become GGUF: one file each, which offers `ARCHITECTURE`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import gguf

from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelBroken
from lightkorllm.gguf_header import GgufHeader
from lightkorllm.repacking.architectures.base import Architecture


@cache
def known() -> dict[str, type[Architecture]]:
    """Families by the `model_type` of config.json."""
    found: dict[str, type[Architecture]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            kind = importlib.import_module(f"{__name__}.{module.name}").ARCHITECTURE
            found |= dict.fromkeys(kind.model_types, kind)
    return dict(sorted(found.items()))


def of(checkpoint: Checkpoint) -> Architecture:
    """The family of a checkpoint. Raises `ModelBroken` naming the known ones."""
    kind = known().get(checkpoint.model_type)
    if kind is None:
        raise ModelBroken(
            f"{checkpoint.folder}의 모델 종류({checkpoint.model_type or '이름 없음'})는 GGUF로 "
            f"옮길 줄 모릅니다. 아는 종류: {', '.join(known())}. transformers 엔진으로 실행하거나 "
            "llama.cpp의 변환 도구로 만든 GGUF를 써 주세요."
        )
    family = kind(checkpoint.text_config)
    family.require_supported()
    return family


def of_gguf(header: GgufHeader, path: Path) -> Architecture:
    """The family of a GGUF file, with its layers and heads. Raises `ModelBroken` as `of` does."""
    kinds = {gguf.MODEL_ARCH_NAMES[kind.arch]: kind for kind in known().values()}
    kind = kinds.get(header.architecture)
    if kind is None:
        raise ModelBroken(
            f"{path}의 구조({header.architecture or '이름 없음'})에 맞게 어댑터를 옮길 줄 "
            f"모릅니다. 아는 구조: {', '.join(sorted(kinds))}. llama.cpp의 변환 도구로 만든 GGUF "
            "어댑터를 써 주세요."
        )
    names = {
        "num_hidden_layers": "block_count",
        "hidden_size": "embedding_length",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "head_dim": "attention.key_length",
    }
    found = {
        key: header.metadata.get(f"{header.architecture}.{name}") for key, name in names.items()
    }
    return kind(found)
