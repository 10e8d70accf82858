"""Memory and speed on a CUDA card: random 4-bit weights in the shape of Llama-2-Ko 7B.

The original's own figures are about 5 GB after loading and at most 7 GB while answering 128 tokens.
Weights are random, so only sizes and speed mean anything. `python benchmarks/card.py --help`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as in serve.py

from benchmarks.harness import Machine, Row, arguments, report

from lightkorllm.engines.transformers import TransformersEngine, TransformersSettings
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

GB = 1024**3
TOKENS = 128
LLAMA_2_KO_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 46336,
    "max_position_embeddings": 2048,
}
KERNELS = ("auto", "gptq_marlin", "gptq_exllama_v2", "gptq_triton", "gptq_torch")


def main() -> None:
    parser = arguments("a 7B-shaped GPTQ model on a CUDA card")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder to take one from")
    command = parser.parse_args()
    import torch

    machine = Machine.here()
    card = torch.cuda.get_device_name(0)
    print(f"{machine}\n{card}\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch) / "7b", LLAMA_2_KO_7B, tokenizer=command.tokenizer)
        rows = []
        for kernel in KERNELS[:1] if command.quick else KERNELS:
            try:
                rows += measure(folder, kernel, card=card)
            except Exception as error:
                print(f"{kernel}: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
    report(machine, rows, json_file=command.json)


def measure(folder: Path, kernel: str, *, card: str) -> list[Row]:
    """Memory after loading and while answering, and tokens a second, of one kernel."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    engine = TransformersEngine(
        TransformersSettings(folder, device="cuda:0", backend=kernel, n_parallel=1)
    )
    try:
        loaded = torch.cuda.memory_allocated() / GB
        params = SamplingParams(TOKENS, temperature=0, repetition_penalty=1)
        Reply.join(engine.stream(GenerationRequest("안녕하세요. 오늘은", params)))  # warmed up
        began = time.perf_counter()
        reply = Reply.join(engine.stream(GenerationRequest("안녕하세요. 오늘은", params)))
        seconds = time.perf_counter() - began
        peak = torch.cuda.max_memory_reserved() / GB
    finally:
        engine.close()
    return [
        Row.below(f"{card}, {kernel}: GiB after loading", loaded, limit=5.0, unit="GiB"),
        Row.below(f"{card}, {kernel}: GiB while answering", peak, limit=7.0, unit="GiB"),
        Row(f"{card}, {kernel}: tokens/s", reply.usage.completion_tokens / seconds),
    ]


def write(folder: Path, shape: Mapping[str, int], *, tokenizer: Path, group: int = 128) -> Path:
    """A GPTQ checkpoint of random codes and scales in a LLaMA's shape; nothing is quantised."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    for file in tokenizer.glob("tokenizer*"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps(_config(shape, group)), encoding="utf-8")
    torch.manual_seed(0)
    weight_map: dict[str, str] = {}
    parts = [_ends(shape)] + [_layer(shape, n, group) for n in range(shape["num_hidden_layers"])]
    for number, tensors in enumerate(parts):
        name = f"model-{number:05}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def _config(shape: Mapping[str, int], group: int) -> dict[str, Any]:
    declared = {
        "quant_method": "gptq", "bits": 4, "group_size": group, "sym": True, "desc_act": False,
        "checkpoint_format": "gptq",
    }  # fmt: skip
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        "dtype": "float16", **shape, "quantization_config": declared,
    }  # fmt: skip


def _ends(shape: Mapping[str, int]) -> dict[str, Any]:
    import torch

    wide = (shape["vocab_size"], shape["hidden_size"])
    return {
        "model.embed_tokens.weight": (torch.randn(wide) * 0.02).half(),
        "lm_head.weight": (torch.randn(wide) * 0.02).half(),
        "model.norm.weight": torch.ones(shape["hidden_size"]).half(),
    }


def _layer(shape: Mapping[str, int], number: int, group: int) -> dict[str, Any]:
    import torch

    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    head = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    sizes = {
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, head),
        "self_attn.v_proj": (hidden, head), "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (hidden, inner), "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }  # fmt: skip
    base = f"model.layers.{number}"
    ones = torch.ones(hidden).half()
    tensors = {
        f"{base}.input_layernorm.weight": ones,
        f"{base}.post_attention_layernorm.weight": ones.clone(),
    }
    for name, (wide, out) in sizes.items():
        words = torch.randint(-(2**31), 2**31 - 1, (wide // 8, out), dtype=torch.int32)
        tensors[f"{base}.{name}.qweight"] = words
        tensors[f"{base}.{name}.qzeros"] = torch.full(
            (wide // group, out // 8), 0x77777777, dtype=torch.int32
        )
        tensors[f"{base}.{name}.scales"] = torch.full((wide // group, out), 0.004).half()
        tensors[f"{base}.{name}.g_idx"] = (torch.arange(wide) // group).int()
    return tensors


if __name__ == "__main__":
    main()
