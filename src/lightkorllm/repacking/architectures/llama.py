"""Llama 1–3, Mistral and what is built like them: rows of Q and K come in pairs."""

from __future__ import annotations

from typing import ClassVar

import gguf

from lightkorllm.repacking.architectures.base import Architecture, interleaved
from lightkorllm.repacking.weights import Rows


class Llama(Architecture):
    model_types: ClassVar[tuple[str, ...]] = ("llama", "mistral")
    arch = gguf.MODEL_ARCH.LLAMA

    def ignored_window(self) -> int | None:
        return self.config.get("sliding_window")

    def row_order(self, name: str) -> Rows | None:
        if ".self_attn.q_proj" in name:
            return interleaved(self.heads, self.heads * self.head_dim)
        if ".self_attn.k_proj" in name:
            return interleaved(self.kv_heads, self.kv_heads * self.head_dim)
        return None

    def describe(self, writer: gguf.GGUFWriter) -> None:
        super().describe(writer)
        writer.add_rope_dimension_count(self.head_dim)


ARCHITECTURE = Llama
