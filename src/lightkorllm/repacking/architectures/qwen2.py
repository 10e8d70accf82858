"""Qwen 2 and 2.5: biases on Q, K and V."""

from __future__ import annotations

from typing import ClassVar

import gguf

from lightkorllm.repacking.architectures.base import Architecture


class Qwen2(Architecture):
    model_types: ClassVar[tuple[str, ...]] = ("qwen2",)
    arch = gguf.MODEL_ARCH.QWEN2

    def ignored_window(self) -> int | None:
        return self.config.get("sliding_window") if self.config.get("use_sliding_window") else None

    def require_supported(self) -> None:
        super().require_supported()
        if self.head_dim * self.heads != self.hidden:
            raise self._refusal(f"head_dim {self.head_dim}")


ARCHITECTURE = Qwen2
