"""Tiny models with random weights: real folders that real libraries load in a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightkorllm.data import corpus

_SPECIAL = ["<unk>", "<s>", "</s>"]


def tokenizer(folder: Path, *, vocabulary: int = 600, pad: bool = False) -> Any:
    """A byte-level BPE tokenizer trained on Korean, saved as `tokenizer.json` alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL + (["<pad>"] if pad else []),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(), trainer)
    make: Any = PreTrainedTokenizerFast
    fast = make(
        tokenizer_object=core,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
    )
    fast.save_pretrained(folder)
    return fast


def _texts() -> Iterator[str]:
    yield corpus.text("calibration", language="ko")[:40_000]


def llama(folder: Path, *, hidden: int = 64, layers: int = 2, seed: int = 0, **config: Any) -> Path:
    """A plain LLaMA-shaped model with random weights and its tokenizer in `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    fast = tokenizer(folder)
    torch.manual_seed(seed)
    settings = LlamaConfig(
        **{
            "vocab_size": len(fast),
            "hidden_size": hidden,
            "intermediate_size": 2 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "bos_token_id": fast.bos_token_id,
            "eos_token_id": fast.eos_token_id,
            **config,
        }
    )
    LlamaForCausalLM(settings).save_pretrained(folder)
    return folder
