"""Models as their headers describe them, of real sizes and without any data."""

from __future__ import annotations

import json
import struct
from math import prod
from pathlib import Path
from typing import Any

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4}

Tensors = dict[str, tuple[str, list[int]]]

LLAMA_2_KO: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "vocab_size": 46336, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
GPTQ_SETTINGS = {"bits": 4, "group_size": 128, "sym": True, "desc_act": False}
GPTQ = {**GPTQ_SETTINGS, "quant_method": "gptq"}
LLAMA_3_8B: dict[str, Any] = {
    **LLAMA_2_KO, "intermediate_size": 14336, "num_key_value_heads": 8, "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
}  # fmt: skip
GEMMA_3_4B: dict[str, Any] = {  # as its makers publish it: heads are the architecture's defaults
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 34, "sliding_window": 1024, "max_position_embeddings": 131_072,
    },
}  # fmt: skip
POLYGLOT_12_8B: dict[str, Any] = {
    "model_type": "gpt_neox", "hidden_size": 5120, "intermediate_size": 20480,
    "num_hidden_layers": 40, "num_attention_heads": 40, "vocab_size": 30080,
    "max_position_embeddings": 2048,
}  # fmt: skip


def llama(config: dict[str, Any], *, dtype: str = "F16", group: int = 0) -> Tensors:
    """The tensors of a LLaMA of that config; 4-bit GPTQ where `group` is given."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    width = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    linears = {
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (width, hidden),
        "self_attn.v_proj": (width, hidden), "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    tensors: Tensors = {"model.embed_tokens.weight": (dtype, [config["vocab_size"], hidden])}
    for layer in range(config["num_hidden_layers"]):
        for name, shape in linears.items():
            tensors |= _linear(f"model.layers.{layer}.{name}", shape, dtype, group)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = (dtype, [hidden])
    tensors["model.norm.weight"] = (dtype, [hidden])
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = (dtype, [config["vocab_size"], hidden])
    return tensors


def _linear(name: str, shape: tuple[int, int], dtype: str, group: int) -> Tensors:
    out, into = shape
    if not group:
        return {f"{name}.weight": (dtype, [out, into])}
    return {
        f"{name}.qweight": ("I32", [into // 8, out]),
        f"{name}.qzeros": ("I32", [into // group, out // 8]),
        f"{name}.scales": ("F16", [into // group, out]),
        f"{name}.g_idx": ("I32", [into]),
    }


def gemma3_4b() -> Tensors:
    """The language model of Gemma 3 4B: 8 heads of 256, 4 of keys, tied embeddings."""
    tensors: Tensors = {"language_model.model.embed_tokens.weight": ("BF16", [262_208, 2560])}
    for layer in range(34):
        inside = f"language_model.model.layers.{layer}"
        for name, shape in {
            "self_attn.q_proj": [2048, 2560], "self_attn.k_proj": [1024, 2560],
            "self_attn.v_proj": [1024, 2560], "self_attn.o_proj": [2560, 2048],
            "mlp.gate_proj": [10240, 2560], "mlp.up_proj": [10240, 2560],
            "mlp.down_proj": [2560, 10240], "self_attn.q_norm": [256], "self_attn.k_norm": [256],
        }.items():  # fmt: skip
            tensors[f"{inside}.{name}.weight"] = ("BF16", shape)
    return tensors


def gpt_neox(config: dict[str, Any]) -> Tensors:
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tensors: Tensors = {
        "gpt_neox.embed_in.weight": ("F16", [config["vocab_size"], hidden]),
        "embed_out.weight": ("F16", [config["vocab_size"], hidden]),
    }
    for layer in range(config["num_hidden_layers"]):
        for name, shape in {
            "attention.query_key_value": [3 * hidden, hidden], "attention.dense": [hidden, hidden],
            "mlp.dense_h_to_4h": [inner, hidden], "mlp.dense_4h_to_h": [hidden, inner],
        }.items():  # fmt: skip
            tensors[f"gpt_neox.layers.{layer}.{name}.weight"] = ("F16", shape)
    return tensors


def header(tensors: Tensors) -> tuple[bytes, int]:
    """A weight file's first bytes, and how many it has in all."""
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        start, end = end, end + _BYTES[dtype] * prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text, 8 + len(text) + end


def write(folder: Path, config: dict[str, Any], tensors: Tensors) -> Path:
    """A folder whose weight file is a header and a hole behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    start, size = header(tensors)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(start)
        file.truncate(size)
    return folder
