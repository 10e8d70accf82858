"""The sizes of a model that memory depends on, from headers: for serving and training alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from lightkorllm.checkpoint import Checkpoint, Tensor
from lightkorllm.gguf_header import GgufHeader

_LAYER = re.compile(r"(\.(layers|h|blocks)|^blk)\.\d+\.")
_INTERLEAVED = (2, 10, 12, 20)  # Q4_0, Q2_K, Q4_K and IQ4_NL, as ggml numbers them
_PACKED = (".qweight", ".qzeros", ".scales", ".g_idx")
# Every how many layers one sees everything, where the config or the file does not say.
_WIDE_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one decoder layer, their number, the vocabulary, and what lies on disk.

    `parameters` counts all weights, `linear` those in the matrices of the layers, which
    quantising packs. `stored` is bytes of all weights as they lie on disk, `packed` those of
    GPTQ's tensors, `in_layers` those within the layers, and `interleaved` those that llama.cpp
    copies into an order of its own where it computes on a CPU. `context` is tokens that the model
    was made for, 0 unknown. Of the layers, `local` ones remember `window` tokens, and `stateful`
    ones (linear attention) none.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    stored: int
    linear: int = 0
    packed: int = 0
    in_layers: int = 0
    interleaved: int = 0
    context: int = 0
    window: int = 0
    local: int = 0
    stateful: int = 0

    def cached(self, context: int, *, whole: bool = False) -> int:
        """How many numbers the keys and values of one request of `context` tokens are.

        Local layers keep their window, or with `whole` everything as the others do.
        """
        local = 0 if whole else self.local
        kept = (self.layers - local - self.stateful) * context + local * min(context, self.window)
        return 2 * self.kv_heads * self.head_dim * kept

    def loaded(self, width: int) -> int:
        """Bytes of the weights in memory: packed ones as they are, others `width` bytes each."""
        if not self.packed:
            return self.parameters * width
        return self.packed + (self.parameters - self.linear) * width

    def quantised(self, *, bits: int = 4, group_size: int = 128) -> int:
        """Bytes that GPTQ would leave: its codes, scales and zeros, and the rest in 16 bit."""
        return int(
            self.linear * (bits / 8 + 2.5 / group_size) + (self.parameters - self.linear) * 2
        )


def of_checkpoint(found: Checkpoint) -> Shape:
    """The shape of a Hugging Face checkpoint; what its tensors say goes before its config."""
    config, tensors = found.text_config, _loaded_tensors(found)
    layers = _number(config, "num_hidden_layers", "num_layers", "n_layer")
    hidden = _number(config, "hidden_size", "n_embd", "d_model")
    heads = _number(config, "num_attention_heads", "n_head") or 1
    head_dim = _head_dim(config, tensors) or hidden // heads
    query, key = (_rows(found, f"{part}_proj") for part in ("q", "k"))
    kv_heads = key // head_dim if key else _number(config, "num_key_value_heads") or heads
    local, stateful = _kinds_of_layers(config, layers)
    bits = found.gptq.bits if found.gptq else 0
    return Shape(
        hidden=hidden,
        intermediate=_number(config, "intermediate_size", "n_inner") or 4 * hidden,
        layers=layers,
        heads=query // head_dim if query else heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=_vocabulary(tensors) or _number(config, "vocab_size"),
        parameters=sum(_weights(name, tensor, bits) for name, tensor in tensors.items()),
        stored=sum(tensor.size for tensor in tensors.values()),
        linear=sum(
            _weights(name, tensor, bits)
            for name, tensor in tensors.items()
            if _LAYER.search(name) and name.endswith((".weight", ".qweight"))
            and len(tensor.shape) == 2
        ),
        packed=sum(t.size for name, t in tensors.items() if name.endswith(_PACKED)) if bits else 0,
        in_layers=sum(tensor.size for name, tensor in tensors.items() if _LAYER.search(name)),
        context=found.context_length,
        window=_number(config, "sliding_window") if local else 0,
        local=local,
        stateful=stateful,
    )  # fmt: skip


def of_gguf(header: GgufHeader, size: int) -> Shape:
    """The shape of a GGUF file of `size` bytes."""

    def number(key: str, default: int = 0) -> int:
        value = header.metadata.get(f"{header.architecture}.{key}")
        return int(max(value) if isinstance(value, list) else value or default)

    hidden, heads = number("embedding_length"), number("attention.head_count", 1)
    layers, window = number("block_count"), number("attention.sliding_window")
    inside = {name: prod(shape) for name, shape in header.tensors.items() if _LAYER.search(name)}
    embedding, sizes = header.tensors.get("token_embd.weight", (0,)), header.sizes(size)
    return Shape(
        hidden=hidden,
        intermediate=number("feed_forward_length", 4 * hidden),
        layers=layers,
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head_dim=number("attention.key_length", hidden // max(1, heads)),
        vocabulary=embedding[0],
        parameters=sum(prod(shape) for shape in header.tensors.values()),
        stored=size,
        linear=sum(n for name, n in inside.items() if len(header.tensors[name]) == 2),
        in_layers=sum(sizes[name] for name in inside),
        interleaved=sum(sizes[name] for name in inside if header.kinds[name] in _INTERLEAVED),
        context=header.train_context,
        window=window,
        local=_local_in_gguf(header, layers) if window else 0,
    )


def _number(config: Mapping[str, Any], *names: str) -> int:
    """The first of these settings that is there; 0 where none is."""
    return next((int(config[name]) for name in names if config.get(name)), 0)


def _loaded_tensors(found: Checkpoint) -> Mapping[str, Tensor]:
    """The tensors without an output matrix that is the embedding a second time."""
    if not found.text_config.get("tie_word_embeddings", found.config.get("tie_word_embeddings")):
        return found.tensors
    return {n: t for n, t in found.tensors.items() if not n.endswith("lm_head.weight")}


def _weights(name: str, tensor: Tensor, bits: int) -> int:
    """How many weights a tensor holds; scales and zeros of packed ones are none."""
    if not bits or not name.endswith(_PACKED):
        return prod(tensor.shape)
    return prod(tensor.shape) * 32 // bits if name.endswith(".qweight") else 0


def _rows(found: Checkpoint, part: str) -> int:
    """The width that a linear layer of the first block gives; 0 where no layer is called so."""
    endings = (f".{part}.weight", f".{part}.qweight")
    name = next((n for n in found.tensors if _LAYER.search(n) and n.endswith(endings)), "")
    shape = found.shape_of(name.rpartition(".")[0]) if name else None
    return shape[0] if shape else 0


def _head_dim(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    """As the config says, or the norm of the queries of one head; 0 where neither does."""
    norms = (t.shape[0] for n, t in tensors.items() if n.endswith(".self_attn.q_norm.weight"))
    return _number(config, "head_dim") or next(norms, 0)


def _vocabulary(tensors: Mapping[str, Tensor]) -> int:
    endings = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
    return next((t.shape[0] for n, t in tensors.items() if n.endswith(endings)), 0)


def _kinds_of_layers(config: Mapping[str, Any], layers: int) -> tuple[int, int]:
    """How many layers see a window only, and how many keep no keys and values at all."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        window = kinds.count("sliding_attention") if config.get("sliding_window") else 0
        return window, kinds.count("linear_attention")
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return 0, 0
    every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern")
    every = every or _WIDE_EVERY.get(str(config.get("model_type")))
    return _all_but_every(layers, every), 0


def _all_but_every(layers: int, every: object) -> int:
    """Of so many layers, those that are not each n-th; a pattern such as `LLLG` is one of four."""
    period = len(every) if isinstance(every, str) else every
    return layers - layers // period if isinstance(period, int) and period > 0 else layers


def _local_in_gguf(header: GgufHeader, layers: int) -> int:
    told = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    if isinstance(told, Iterable):
        return sum(bool(local) for local in told)
    every = told or _WIDE_EVERY.get(header.architecture)
    return _all_but_every(layers, every) if every else 0
