"""What all decoder families share on their way to llama.cpp; each one's file says what differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import gguf
import numpy as np

from lightkorllm.errors import ModelBroken
from lightkorllm.repacking import rope
from lightkorllm.repacking.weights import Floats, Rows


class Architecture:
    """One family: `model_types` of config.json, and llama.cpp's name for it."""

    model_types: ClassVar[tuple[str, ...]] = ()
    arch: ClassVar[gguf.MODEL_ARCH]
    activations: ClassVar[tuple[str, ...]] = ("silu", "swish")
    norm_shift: ClassVar[float] = 0.0
    """Added to the weights of norms: 1 where the family computes x · (1 + w)."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """What transformers assumes where config.json leaves it out."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = {**self.defaults, **config}
        self.layers = self._count("num_hidden_layers")
        self.hidden = self._count("hidden_size")
        self.heads = self._count("num_attention_heads")
        self.kv_heads = int(self.config.get("num_key_value_heads") or self.heads)
        self.head_dim = int(self.config.get("head_dim") or self.hidden // self.heads)
        self.rope = rope.of(self.config)
        self._names = gguf.get_tensor_name_map(self.arch, self.layers)

    @property
    def name(self) -> str:
        """llama.cpp's name of the family."""
        return gguf.MODEL_ARCH_NAMES[self.arch]

    @property
    def tied(self) -> bool:
        """Whether the output matrix is the embedding itself."""
        return bool(self.config.get("tie_word_embeddings", False))

    @property
    def context_length(self) -> int:
        """Tokens within which llama.cpp computes the same as the original."""
        whole = self._count("max_position_embeddings")
        window = self.ignored_window()
        return min(whole, window) if window else whole

    def ignored_window(self) -> int | None:
        """A sliding window that llama.cpp does not apply to this family."""
        return None

    def find_name(self, name: str) -> str | None:
        """GGUF's name of a tensor; None where the family has no such tensor."""
        found = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
        return None if found is None else str(found)

    def tensor_name(self, name: str) -> str:
        """The same. Raises `ModelBroken` where the family has no such tensor."""
        found = self.find_name(name)
        if found is None:
            raise ModelBroken(
                f"{self.name} 구조에 없는 가중치({name})가 있어 GGUF로 옮길 수 없습니다."
            )
        return found

    def row_order(self, name: str) -> Rows | None:
        """The order in which GGUF wants the rows of tensor `name`; None for the same one."""
        return None

    def shift(self, name: str) -> float:
        """What is added to each number of tensor `name`."""
        return self.norm_shift if name.endswith("norm.weight") else 0.0

    def describe(self, writer: gguf.GGUFWriter) -> None:
        """Write the family's settings."""
        writer.add_context_length(self.context_length)
        writer.add_embedding_length(self.hidden)
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(self._count("intermediate_size"))
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(float(self.config.get("rms_norm_eps") or 1e-6))
        writer.add_vocab_size(self._count("vocab_size"))
        rope.describe(self.rope, writer)

    def extra_tensors(self) -> dict[str, Floats]:
        """Tensors that GGUF wants and the checkpoint has not."""
        factors = rope.frequency_factors(self.rope, self.head_dim)
        return {} if factors is None else {"rope_freqs.weight": factors}

    def require_supported(self) -> None:
        """Raises `ModelBroken` for a model that llama.cpp would not compute the same way."""
        used = self.config.get("hidden_activation") or self.config.get("hidden_act") or ""
        if used and used not in self.activations:
            raise self._refusal(f"활성 함수 {used}")
        if float(self.rope.values.get("partial_rotary_factor") or 1.0) != 1.0:
            raise self._refusal("일부 차원만 돌리는 RoPE")

    def _refusal(self, what: str) -> ModelBroken:
        kind = self.config.get("model_type")
        return ModelBroken(
            f"{what}을(를) 쓰는 {kind} 모델은 llama.cpp가 똑같이 계산하지 못해 "
            "GGUF로 옮기지 않습니다. transformers 엔진으로 실행해 주세요."
        )

    def _count(self, key: str) -> int:
        value = self.config.get(key)
        if not isinstance(value, int) or value < 1:
            raise ModelBroken(f"모델 설정의 {key}이(가) 올바르지 않습니다 (값: {value!r}).")
        return value


def interleaved(heads: int, rows: int) -> Rows:
    """The row order that turns halves into pairs within each head.

    transformers rotates dimension i with i + d/2, llama.cpp's llama layout 2i with 2i + 1.
    """
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(rows)


def sliding_layers(config: Mapping[str, Any], layers: int, *, every: int) -> list[bool]:
    """Which layers look only at a window: as the config says, or all but each `every`-th."""
    types, pattern = config.get("layer_types"), config.get("sliding_window_pattern")
    if isinstance(types, list) and len(types) == layers:
        return [kind == "sliding_attention" for kind in types]
    if isinstance(pattern, str):
        return [pattern[number % len(pattern)] == "L" for number in range(layers)]
    every = pattern if isinstance(pattern, int) else every
    return [bool((number + 1) % every) for number in range(layers)]
