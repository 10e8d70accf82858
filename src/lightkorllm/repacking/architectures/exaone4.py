"""EXAONE 4: norms after attention and feed-forward; the 32B mixes windows and whole attention."""

from __future__ import annotations

from typing import ClassVar

import gguf

from lightkorllm.repacking.architectures.base import Architecture, sliding_layers

_LAYERS_OF_32B = 64  # only at this number does llama.cpp apply the windows
_WINDOW_EVERY = 4


class Exaone4(Architecture):
    model_types: ClassVar[tuple[str, ...]] = ("exaone4",)
    arch = gguf.MODEL_ARCH.EXAONE4

    def describe(self, writer: gguf.GGUFWriter) -> None:
        super().describe(writer)
        if any(self._sliding()):
            writer.add_sliding_window(self._count("sliding_window"))
            writer.add_sliding_window_pattern(self._sliding())

    def _sliding(self) -> list[bool]:
        if not self.config.get("sliding_window"):
            return [False] * self.layers
        return sliding_layers(self.config, self.layers, every=_WINDOW_EVERY)

    def require_supported(self) -> None:
        super().require_supported()
        if self.head_dim * self.heads != self.hidden:
            raise self._refusal(f"head_dim {self.head_dim}")
        if any(self._sliding()) and self.layers != _LAYERS_OF_32B:
            raise self._refusal(f"{self.layers}층에 창(sliding window)")
        if self.layers == _LAYERS_OF_32B and not any(self._sliding()):
            raise self._refusal(f"{self.layers}층이면서 창(sliding window) 없는 attention")


ARCHITECTURE = Exaone4
