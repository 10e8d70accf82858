"""Gemma 1: norms compute x · (1 + w), and attention has its own width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gguf

from lightkorllm.repacking.architectures.base import Architecture


class Gemma(Architecture):
    model_types: ClassVar[tuple[str, ...]] = ("gemma",)
    arch = gguf.MODEL_ARCH.GEMMA
    activations: ClassVar[tuple[str, ...]] = (
        "gelu",
        "gelu_pytorch_tanh",
    )  # "gelu" was a slip of the first configs
    norm_shift = 1.0
    defaults: ClassVar[Mapping[str, Any]] = {"tie_word_embeddings": True, "head_dim": 256}


ARCHITECTURE = Gemma
