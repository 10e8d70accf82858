"""What the original promised of its card: a 7B model in 4 bit, about 5 GB, at most 7 answering."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import card

import tiny
from lightkorllm import checkpoint
from lightkorllm.engines.transformers import TransformersEngine, TransformersSettings
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_a_7b_model_takes_5_gb_loaded_and_7_answering(tmp_path: Path) -> None:
    tiny.tokenizer(tmp_path)
    folder = card.write(tmp_path / "7b", card.LLAMA_2_KO_7B, tokenizer=tmp_path)
    rows = card.measure(folder, "auto", card="card")
    assert [row.met for row in rows if row.goal] == [True, True]


def test_the_random_model_is_one_that_the_engine_runs(tmp_path: Path) -> None:
    """The same writer in a small shape, so that a card only brings its size."""
    fast = tiny.tokenizer(tmp_path)
    shape = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": len(fast),
        "max_position_embeddings": 128,
    }  # fmt: skip
    folder = card.write(tmp_path / "small", shape, tokenizer=tmp_path, group=32)
    assert checkpoint.read(folder).gptq == checkpoint.Gptq(4, 32, sym=True, desc_act=False)
    engine = TransformersEngine(TransformersSettings(folder, device="cpu"))
    try:
        request = GenerationRequest("안녕하세요", SamplingParams(8, temperature=0))
        assert Reply.join(engine.stream(request)).usage.completion_tokens > 0
    finally:
        engine.close()
