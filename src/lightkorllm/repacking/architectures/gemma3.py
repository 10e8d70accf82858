"""Gemma 3, the language model: windows with their own rotary base, five of six layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gguf

from lightkorllm.repacking import rope
from lightkorllm.repacking.architectures.gemma2 import Gemma2


class Gemma3(Gemma2):
    model_types: ClassVar[tuple[str, ...]] = ("gemma3_text", "gemma3")
    arch = gguf.MODEL_ARCH.GEMMA3
    layers_of_27b: ClassVar[int] = 62
    window_every: ClassVar[int] = 6
    defaults: ClassVar[Mapping[str, Any]] = {
        "tie_word_embeddings": True, "head_dim": 256, "num_attention_heads": 8,
        "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "vocab_size": 262_208,
        "max_position_embeddings": 131_072, "sliding_window": 4096, "rope_theta": 1_000_000.0,
    }  # fmt: skip

    def describe(self, writer: gguf.GGUFWriter) -> None:
        super(Gemma2, self).describe(writer)
        self._describe_window(writer)
        local = rope.of(self.config, "sliding_attention")
        writer.add_rope_freq_base_swa(local.base)
        if cap := self.config.get("final_logit_softcapping"):
            writer.add_final_logit_softcapping(float(cap))

    def require_supported(self) -> None:
        super().require_supported()
        if self.config.get("attn_logit_softcapping"):
            raise self._refusal("attn_logit_softcapping")
        if self.config.get("use_bidirectional_attention"):
            raise self._refusal("양방향 attention")


ARCHITECTURE = Gemma3
