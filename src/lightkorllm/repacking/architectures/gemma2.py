"""Gemma 2: capped logits, every other layer looks at a window."""

from __future__ import annotations

from typing import ClassVar

import gguf

from lightkorllm.repacking.architectures.base import sliding_layers
from lightkorllm.repacking.architectures.gemma import Gemma

_LAYERS_OF_27B = 46  # llama.cpp knows by this number that queries are scaled otherwise


class Gemma2(Gemma):
    model_types: ClassVar[tuple[str, ...]] = ("gemma2",)
    arch = gguf.MODEL_ARCH.GEMMA2
    activations: ClassVar[tuple[str, ...]] = ("gelu_pytorch_tanh",)
    layers_of_27b: ClassVar[int] = _LAYERS_OF_27B
    window_every: ClassVar[int] = 2

    def describe(self, writer: gguf.GGUFWriter) -> None:
        super().describe(writer)
        self._describe_window(writer)
        writer.add_attn_logit_softcapping(float(self.config.get("attn_logit_softcapping") or 0.0))
        writer.add_final_logit_softcapping(float(self.config.get("final_logit_softcapping") or 0.0))

    def _describe_window(self, writer: gguf.GGUFWriter) -> None:
        writer.add_sliding_window(self._count("sliding_window"))
        pattern = sliding_layers(self.config, self.layers, every=self.window_every)
        if pattern != sliding_layers({}, self.layers, every=self.window_every):
            writer.add_sliding_window_pattern(pattern)

    def require_supported(self) -> None:
        super().require_supported()
        assumed = self.hidden // self.heads if self.layers == self.layers_of_27b else self.head_dim
        scalar = self.config.get("query_pre_attn_scalar", assumed)
        if scalar != assumed:
            raise self._refusal(f"query_pre_attn_scalar {scalar}")


ARCHITECTURE = Gemma2
