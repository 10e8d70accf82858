"""Qwen 3: norms over each head's queries and keys."""

from __future__ import annotations

from typing import ClassVar

import gguf

from lightkorllm.repacking.architectures.base import Architecture


class Qwen3(Architecture):
    model_types: ClassVar[tuple[str, ...]] = ("qwen3",)
    arch = gguf.MODEL_ARCH.QWEN3

    def ignored_window(self) -> int | None:
        return self.config.get("sliding_window") if self.config.get("use_sliding_window") else None


ARCHITECTURE = Qwen3
