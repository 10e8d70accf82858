"""Small checkpoint folders of all kinds that a test may want: architectures, GPTQ, adapters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tiny
from lightkorllm.engines.transformers import TransformersSettings


def settings(model: Path, **changes: Any) -> TransformersSettings:
    """An engine on a CPU in float32, where rounding decides nothing."""
    return TransformersSettings(model, **{"device": "cpu", "dtype": "float32", **changes})


WIDE = {"initializer_range": 0.5, "max_position_embeddings": 2048}
"""Logits far apart, so that rounding never decides, and a context that holds real prompts."""


def llama(folder: Path, **config: Any) -> Path:
    """A LLaMA with a byte-level vocabulary that never ends an answer by itself."""
    tiny.llama(folder, **{**WIDE, "num_key_value_heads": 1, **config})
    return _never_ending(folder)


def reciter(folder: Path) -> Path:
    """A LLaMA that recites Korean in a circle whatever it is asked, rare syllables byte by byte.

    Its layers add nothing, so the newest token alone decides the next one.
    """
    import torch
    from safetensors.torch import load_file, save_file

    tiny.llama(folder, hidden=640, layers=1, max_position_embeddings=2048)
    fast = _with_bos(folder)
    circle = _distinct(fast, "그 궳뛟는 어제 서울에서 학교까지 걸어갔다 뷁")
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
            weight.zero_()
    size = len(fast)
    weights["model.embed_tokens.weight"] = torch.eye(size, 640)
    head = weights["lm_head.weight"]
    head[circle[0], :size] = 1
    for now, following in zip(circle, circle[1:] + circle[:1], strict=True):
        head[:, now] = 0
        head[following, now] = 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def speaker(folder: Path) -> Path:
    """A LLaMA that says the newest token again, until an adapter of `speaking` changes its mind.

    Token i is unit i everywhere: in the embedding, in the middle of the MLP and in the head.
    """
    import torch
    from safetensors.torch import load_file, save_file

    tiny.llama(folder, hidden=640, layers=1, max_position_embeddings=2048)
    size = len(_with_bos(folder))
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
        elif name.endswith(("gate_proj.weight", "up_proj.weight")):
            weight.copy_(torch.eye(*weight.shape))
        elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
            weight.copy_(torch.eye(size, 640))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def speaking(base: Path, folder: Path, words: str, **kept: Any) -> str:
    """A PEFT adapter on a `speaker` that says `words` over and over; they as it says them.

    `kept` are fields of its record, where there are any.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import PreTrainedTokenizerFast

    from lightkorllm import record

    fast: Any = PreTrainedTokenizerFast.from_pretrained(base)
    circle = _distinct(fast, words)
    a, b = torch.zeros(len(circle), 1280), torch.zeros(640, len(circle))
    a[0, :640] = 1
    for number, token in enumerate(circle):
        a[:, token] = 0
        a[(number + 1) % len(circle), token] = 1
        b[token, number] = 1
    folder.mkdir(parents=True, exist_ok=True)
    layer = "base_model.model.model.layers.0.mlp.down_proj"
    save_file(
        {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    _describe_lora(folder, base, rank=len(circle), layers=["down_proj"])
    if kept:
        record.write(record.Record(method="lora", **kept), folder)
    return str(fast.decode(circle))


def _distinct(fast: Any, text: str) -> list[int]:
    """The ids of the words that use no token of an earlier word."""
    used: list[int] = []
    for word in text.split():
        ids = fast(" " + word, add_special_tokens=False).input_ids
        if len({*used, *ids}) == len(used) + len(ids):
            used += ids
    return used


def _with_bos(folder: Path) -> Any:
    """The tokenizer in `folder`, which puts a BOS before a text from now on."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast.from_pretrained(folder, add_bos_token=True)
    fast.save_pretrained(folder)
    return fast


def gemma3(folder: Path, *, window: int = 16) -> Path:
    """A Gemma 3 whose first layer sees only the last `window` tokens."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return _save(
        folder,
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        head_dim=32,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=32,
        **WIDE,
    )


def qwen3(folder: Path) -> Path:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return _save(folder, Qwen3ForCausalLM, Qwen3Config, head_dim=32, **WIDE)


def _save(folder: Path, model: Any, config: Any, **settings: Any) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    fast = tiny.tokenizer(folder)
    torch.manual_seed(0)
    made = config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        **settings,
    )
    model(made).save_pretrained(folder)
    return _never_ending(folder)


def _never_ending(folder: Path) -> Path:
    """The end's own logit becomes 0, where the best of the others is far above."""
    from safetensors.torch import load_file, save_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "model.safetensors")
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    head[config["eos_token_id"]] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def byte_fallback(folder: Path) -> Any:
    """A tokenizer of Llama 2's shape: words begin with ▁, rare syllables are three byte tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    special = ["<unk>", "<s>", "</s>"]
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, limit_alphabet=120, show_progress=False
    )
    core.train_from_iterator([text for text in tiny._texts()], trainer)
    state = json.loads(core.to_str())
    _add_bytes(state, bytes_)
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call, unused-ignore]
        tokenizer_object=Tokenizer.from_str(json.dumps(state, ensure_ascii=False)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        add_bos_token=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return fast


def joining(folder: Path) -> Any:
    """A tokenizer of Llama 3's shape: a sign and the line breaks behind it become one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = (
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    joined = (f"{sign}{breaks}" for sign in ":.]!?" for breaks in ("\n", "\n\n", "\n\n\n"))
    core.train_from_iterator(
        [*tiny._texts(), *(text for text in joined for _ in range(99))], trainer
    )
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call, unused-ignore]
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", add_bos_token=True
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return fast


def _add_bytes(state: dict[str, Any], bytes_: list[str]) -> None:
    vocabulary = state["model"]["vocab"]
    for piece in bytes_:
        vocabulary.setdefault(piece, len(vocabulary))


def gptq(source: Path, folder: Path, *, group: int = 32, **settings: Any) -> Path:
    """The plain checkpoint `source` with its layers rounded to 4 bit, as GPTQModel stores them."""
    import shutil

    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True, exist_ok=True)
    for file in source.glob("*.json"):
        shutil.copy(file, folder)
    packed: dict[str, Any] = {}
    for name, weight in load_file(source / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            packed |= _packed(name.removesuffix(".weight"), weight, group)
        else:
            packed[name] = weight.contiguous()
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    declared = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": group,
        "sym": True,
        "desc_act": False,
        "checkpoint_format": "gptq",
        **settings,
    }
    edit(folder / "config.json", quantization_config=declared)
    return folder


def _packed(layer: str, weight: Any, group: int) -> dict[str, Any]:
    import torch

    outof, into = weight.shape
    grouped = weight.float().reshape(outof, into // group, group)
    scales = (grouped.abs().amax(-1) / 7).half()
    codes = (grouped / scales.float()[..., None]).round().clamp(-8, 7).int() + 8
    codes = codes.reshape(outof, into).T.reshape(into // 8, 8, outof)
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)[None, :, None]
    zeros = torch.full((into // group, outof // 8), 0x77777777, dtype=torch.int32)
    return {
        f"{layer}.qweight": (codes << shifts).sum(1, dtype=torch.int32).contiguous(),
        f"{layer}.qzeros": zeros,
        f"{layer}.scales": scales.T.contiguous(),
        f"{layer}.g_idx": (torch.arange(into) // group).int(),
    }


def lora(
    base: Path, folder: Path, *, layers: Sequence[str] = ("q_proj", "v_proj"), seed: int = 1
) -> Path:
    """A LoRA adapter as PEFT saves it, strong enough to change every answer of `base`."""
    import torch
    from safetensors.torch import save_file

    from lightkorllm import checkpoint

    torch.manual_seed(seed)
    tensors = {}
    for name, found in checkpoint.read(base).tensors.items():
        layer = name.removesuffix(".weight")
        if layer.endswith(tuple(layers)):
            outof, into = found.shape
            tensors[f"base_model.model.{layer}.lora_A.weight"] = torch.randn(4, into)
            tensors[f"base_model.model.{layer}.lora_B.weight"] = torch.randn(outof, 4)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    _describe_lora(folder, base, rank=4, layers=layers)
    return folder


def _describe_lora(folder: Path, base: Path, *, rank: int, layers: Sequence[str]) -> None:
    edit(
        folder / "adapter_config.json",
        peft_type="LORA",
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(base),
        r=rank,
        lora_alpha=2 * rank,
        target_modules=list(layers),
        inference_mode=True,
    )


def edit(file: Path, **changes: Any) -> None:
    """Set some keys of a JSON file; None removes one."""
    values = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    values = {k: v for k, v in {**values, **changes}.items() if v is not None}
    file.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")
