"""Tiny models of every family that becomes GGUF, each with a tokenizer cut as the real one's is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lightkorllm.data import corpus

_CASELESS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_MIXED = r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + "+{0}|" + (
    r"[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*{0}|"
)  # fmt: skip
_SLASHED = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "llama-bpe": _CASELESS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST,
    "qwen2": _CASELESS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST,
    "qwen35": _CASELESS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    + r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": _MIXED.replace("{0}", "") + r"\p{N}|" + _SLASHED,
    "gpt-4o": _MIXED.replace("{0}", _CASELESS + "?") + r"\p{N}{1,3}|" + _SLASHED,
}
_SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>"]


@dataclass(frozen=True)
class Family:
    """A model class of transformers, its settings, and how its text is cut."""

    model: str
    tokenizer: str
    settings: dict[str, Any] = field(default_factory=dict)


_SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.4,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64, "rope_theta": 10_000.0,
}  # fmt: skip
_GEMMA = {
    "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8, "num_hidden_layers": 7,
    "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
}  # fmt: skip
FAMILIES = {
    "llama2": Family("Llama", "sentencepiece", {"num_key_value_heads": 4}),
    "llama3": Family("Llama", "llama-bpe", {"rope_parameters": _LLAMA3}),
    "llama-linear": Family(
        "Llama",
        "smollm",
        {
            "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e4},
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    "mistral": Family("Mistral", "tekken", {"head_dim": 32, "sliding_window": 256}),
    "qwen2": Family("Qwen2", "qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": Family(
        "Qwen2",
        "qwen35",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1e6,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "qwen3": Family("Qwen3", "qwen2", {"head_dim": 32}),
    "gemma": Family("Gemma", "gemma", {"head_dim": 32, "hidden_act": "gelu_pytorch_tanh"}),
    "gemma2": Family("Gemma2", "gemma", _GEMMA),
    "gemma3": Family(
        "Gemma3Text",
        "gemma",
        {
            **_GEMMA,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "exaone4": Family(
        "Exaone4",
        "gpt-2",
        {
            "rope_parameters": _LLAMA3,
            "sliding_window": None,
            "layer_types": ["full_attention"] * 3,
        },
    ),
    "kanana-like": Family("Llama", "gpt-4o"),
}
WIDE = Family("Llama", "gpt-2", {"hidden_size": 256, "intermediate_size": 256})


def make(name: str, folder: Path) -> Path:
    """The plain checkpoint of a family in `folder`, random weights, float32."""
    import torch
    import transformers

    family = FAMILIES.get(name, WIDE)
    folder.mkdir(parents=True, exist_ok=True)
    size = len(tokenizer(family.tokenizer, folder))
    torch.manual_seed(len(name))
    settings = {**_SMALL, **family.settings}
    config = getattr(transformers, f"{family.model}Config")(
        vocab_size=size, bos_token_id=1, eos_token_id=2, pad_token_id=None, **settings
    )
    model = getattr(transformers, f"{family.model.removesuffix('Text')}ForCausalLM")(config)
    for parameter in model.parameters():
        if parameter.ndim == 1:  # norms and biases that do something
            torch.nn.init.normal_(parameter, std=0.3)
            parameter.data += 0.0 if "gemma" in name else 1.0
    model.save_pretrained(folder)
    return folder


def tokenizer(kind: str, folder: Path) -> Any:
    """A tokenizer trained on our Korean, saved in `folder`, that puts a BOS before each text."""
    from transformers import PreTrainedTokenizerFast

    (folder / "tokenizer.json").write_text(_state(kind), encoding="utf-8")
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    text = {**named, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(text), encoding="utf-8")
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_file=str(folder / "tokenizer.json"), **named)


@cache
def _state(kind: str) -> str:
    pieces = kind in ("sentencepiece", "gemma")
    core = _sentencepiece(gemma=kind == "gemma") if pieces else _byte_level(kind)
    from tokenizers import AddedToken, processors

    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    core.add_tokens([AddedToken("<표>", normalized=False)])
    state = json.loads(core.to_str())
    if pieces:
        _complete(state["model"])
    return json.dumps(state, ensure_ascii=False)


def _byte_level(kind: str) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    cuts: list[Any] = []
    if kind == "smollm":
        cuts.append(pre_tokenizers.Digits(individual_digits=True))
    elif kind in PATTERNS:
        cuts.append(pre_tokenizers.Split(Regex(PATTERNS[kind]), "isolated"))
    whole = kind not in PATTERNS
    cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=whole))
    core = Tokenizer(models.BPE(ignore_merges=kind in ("llama-bpe", "tekken")))
    core.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(_texts(), trainer)
    return core


def _sentencepiece(*, gemma: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    core.normalizer = spaces if gemma else normalizers.Sequence(
        [normalizers.Prepend("▁"), spaces]
    )  # fmt: skip
    if gemma:
        core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=1100, special_tokens=_SPECIAL + bytes_, limit_alphabet=300, show_progress=False
    )
    core.train_from_iterator(_texts(), trainer)
    state = json.loads(core.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in bytes_]
    return Tokenizer.from_str(json.dumps(state))


def _complete(model: dict[str, Any]) -> None:
    """Every pair that makes a token becomes a rule, as SentencePiece has it."""
    vocab: dict[str, int] = model["vocab"]
    model["merges"] = [
        [token[:cut], token[cut:]]
        for token in sorted(vocab, key=lambda token: vocab[token])
        if not token.startswith("<")
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]


def _texts() -> Sequence[str]:
    korean = corpus.text("calibration", language="ko")
    return [korean[:40_000], corpus.text("calibration", language="en")[:10_000]]
