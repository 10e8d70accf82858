"""Every family: llama.cpp over the converted file says what transformers says over the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightkorllm import pretrained, repacking
from repacking import families, texts
from repacking.native import Native


@pytest.fixture(scope="module", params=families.FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family") / request.param
    return families.make(request.param, folder)


@pytest.fixture(scope="module")
def native(family: Path) -> Iterator[Native]:
    made = repacking.to_gguf(family, family.with_suffix(".gguf"))
    with Native(made.path) as running:
        yield running


@pytest.fixture(scope="module")
def tokenizer(family: Path) -> Any:
    return pretrained.load_tokenizer(family)


def test_a_thousand_lines_become_the_same_tokens(native: Native, tokenizer: Any) -> None:
    lines = texts.HARD + texts.korean(1000 if tokenizer.is_fast else 0)
    different = [line for line in lines if native.tokens(line) != tokenizer(line)["input_ids"]]
    assert different == []


def test_the_likeliest_next_tokens_are_the_same(
    family: Path, native: Native, tokenizer: Any
) -> None:
    import torch
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(family, dtype=torch.float32)
    ids = tokenizer(" ".join(texts.korean(40)))["input_ids"][:32]
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([ids])).logits[0]
    got = native.next_tokens(ids, first=1)
    chosen = logits[range(len(got)), got]
    behind = logits[: len(got)].max(-1).values - chosen
    assert float(behind.max()) < 0.05 * float(logits.std())
    assert int((behind == 0).sum()) >= 0.95 * len(got)
