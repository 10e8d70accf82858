"""Rotary positions: what a config says, old spelling or new, and how llama.cpp is told.

Scalings as in transformers' modeling_rope_utils.py; llama.cpp divides each frequency by a factor
that the tensor `rope_freqs` holds, which is how Llama 3's scaling is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gguf
import numpy as np

from lightkorllm.errors import ModelBroken
from lightkorllm.repacking.weights import Floats

DEFAULT_BASE = 10_000.0


@dataclass(frozen=True)
class Rope:
    """`base` and the scaling of one kind of attention layer."""

    base: float
    kind: str = "default"
    values: Mapping[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: float) -> float:
        return float(self.values.get(name) or default)


def of(config: Mapping[str, Any], layer_type: str = "full_attention") -> Rope:
    """The rotary settings of a config for layers of `layer_type`."""
    values = config.get("rope_parameters") or {}
    values = values.get(layer_type, values)
    if values:
        base = values.get("rope_theta") or config.get("rope_theta") or DEFAULT_BASE
    elif layer_type == "sliding_attention" and config.get("rope_local_base_freq"):
        return Rope(float(config["rope_local_base_freq"]))
    else:
        base = config.get("rope_theta") or DEFAULT_BASE
        values = config.get("rope_scaling") or {}
    kind = values.get("rope_type") or values.get("type") or "default"
    return Rope(float(base), str(kind), values)


def describe(rope: Rope, writer: gguf.GGUFWriter) -> None:
    """Write base and scaling. Raises `ModelBroken` for a scaling that llama.cpp doesn't have."""
    writer.add_rope_freq_base(rope.base)
    if rope.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope.number("factor", 1.0))
    elif rope.kind == "yarn":
        _describe_yarn(rope, writer)
    elif rope.kind not in ("default", "llama3", "dynamic"):
        raise ModelBroken(f"RoPE 확장 방식 {rope.kind!r}은(는) GGUF로 옮길 수 없습니다.")


def _describe_yarn(rope: Rope, writer: gguf.GGUFWriter) -> None:
    if rope.values.get("attention_factor") or rope.values.get("mscale"):
        raise ModelBroken("attention_factor나 mscale을 바꾼 YaRN은 GGUF로 옮길 수 없습니다.")
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope.number("factor", 1.0))
    writer.add_rope_scaling_orig_ctx_len(int(rope.number("original_max_position_embeddings", 0)))
    writer.add_rope_scaling_yarn_beta_fast(rope.number("beta_fast", 32.0))
    writer.add_rope_scaling_yarn_beta_slow(rope.number("beta_slow", 1.0))


def frequency_factors(rope: Rope, head_dim: int) -> Floats | None:
    """What each of head_dim/2 frequencies is divided by under Llama 3's scaling; None elsewhere.

    Long waves are stretched by `factor`, short ones kept, those between interpolated.
    """
    if rope.kind != "llama3":
        return None
    factor = rope.number("factor", 8.0)
    low, high = rope.number("low_freq_factor", 1.0), rope.number("high_freq_factor", 4.0)
    trained = rope.number("original_max_position_embeddings", 8192)
    frequencies = rope.base ** -(np.arange(0, head_dim, 2) / head_dim)
    turns = trained * frequencies / (2 * math.pi)
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
