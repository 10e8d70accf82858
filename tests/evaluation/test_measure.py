"""Perplexity, bits per byte, divergence and agreement, against the plain way to compute them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import tiny
from lightkorllm import evaluation
from lightkorllm.data import corpus
from lightkorllm.errors import ModelBroken, OptionError
from lightkorllm.evaluation import Sample, Subject

KOREAN = Sample("글", "ko", corpus.text("held_out", language="ko")[:3000])


@pytest.fixture(scope="module")
def a(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return evaluation.open_subject(tiny.llama(tmp_path_factory.mktemp("a"), seed=1))


@pytest.fixture(scope="module")
def b(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return evaluation.open_subject(tiny.llama(tmp_path_factory.mktemp("b"), seed=2))


def _naive_nats(subject: Subject, text: str, tokens: int) -> float:
    """One window, one token after the other, in double precision."""
    ids = [subject.tokenizer.bos_token_id]
    ids += subject.tokenizer(text, add_special_tokens=False)["input_ids"][:tokens]
    total = 0.0
    with torch.inference_mode():
        for at in range(1, len(ids)):
            logits = subject.model(torch.tensor([ids[:at]])).logits[0, -1].double()
            total -= float(torch.log_softmax(logits, -1)[ids[at]])
    return total


def test_perplexity_is_what_the_definition_says(a: Subject) -> None:
    (row,) = evaluation.compare(a, None, [KOREAN], tokens=40)
    assert row.a.tokens == 40
    assert row.a.perplexity == pytest.approx(
        math.exp(_naive_nats(a, KOREAN.text, 40) / 40), rel=1e-4
    )


def test_bits_per_byte_spread_the_same_over_the_bytes(a: Subject) -> None:
    text = "가나다라마바사아자차카타파하 한국어 글입니다."
    (row,) = evaluation.compare(a, None, [Sample("글", "ko", text)], tokens=500)
    bits = row.a.tokens * math.log2(row.a.perplexity)
    assert row.a.bits_per_byte == pytest.approx(bits / len(text.encode()), rel=1e-6)


def test_a_long_text_is_measured_in_windows_and_every_token_once(a: Subject) -> None:
    (row,) = evaluation.compare(a, None, [KOREAN], tokens=1100)
    assert row.a.tokens == 1100


def test_a_model_does_not_stray_from_itself(a: Subject) -> None:
    (row,) = evaluation.compare(a, a, [KOREAN], tokens=100)
    assert row.drift is not None
    assert row.drift.kl_divergence == pytest.approx(0, abs=1e-6)
    assert row.drift.top1_agreement == 1
    assert row.ratio == 1


def test_divergence_and_agreement_are_what_the_definitions_say(a: Subject, b: Subject) -> None:
    (row,) = evaluation.compare(a, b, [KOREAN], tokens=30)
    ids = [
        a.tokenizer.bos_token_id,
        *a.tokenizer(KOREAN.text, add_special_tokens=False)["input_ids"][:30],
    ]
    with torch.inference_mode():
        p = torch.log_softmax(a.model(torch.tensor([ids])).logits[0, :-1].double(), -1)
        q = torch.log_softmax(b.model(torch.tensor([ids])).logits[0, :-1].double(), -1)
    assert row.drift is not None
    assert row.drift.kl_divergence == pytest.approx(
        float((p.exp() * (p - q)).sum(1).mean()), rel=1e-3
    )
    agreed = float((p.argmax(1) == q.argmax(1)).double().mean())
    assert row.drift.top1_agreement == pytest.approx(agreed)


def test_models_with_other_tokenizers_are_not_compared(a: Subject, tmp_path: Path) -> None:
    folder = tiny.llama(tmp_path)
    tiny.tokenizer(folder, vocabulary=400)
    other = evaluation.open_subject(folder)
    with pytest.raises(ModelBroken, match="토크나이저"):
        evaluation.compare(a, other, [KOREAN])


def test_an_empty_text_is_an_error(a: Subject) -> None:
    with pytest.raises(OptionError, match="빈글"):
        evaluation.compare(a, None, [Sample("빈글", "ko", "")])
