"""Families of models that can become GGUF: one file each, which offers `ARCHITECTURE`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelBroken
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
    return kind(checkpoint.text_config)
