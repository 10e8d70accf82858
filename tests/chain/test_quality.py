"""What 4 bit cost Gemma 3 270M, on texts that nobody wrote for this project."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from benchmarks import public_texts

from lightkorllm import evaluation, hardware
from lightkorllm.evaluation import Measured, Subject

pytestmark = pytest.mark.chain

_DTYPE = hardware.choose("cpu", gptq=False, model_type="gemma3_text").dtype


@pytest.fixture(scope="module")
def original(gemma: Path) -> Subject:
    return evaluation.open_subject(gemma, dtype=_DTYPE)


@pytest.fixture(scope="module")
def ours(original: Subject, gemma_gptq: Path) -> tuple[Measured, ...]:
    texts = (*public_texts.korean(), *public_texts.english())
    return evaluation.compare(
        original, evaluation.open_subject(gemma_gptq, dtype=_DTYPE), texts, tokens=2048
    )


@pytest.fixture(scope="module")
def theirs(original: Subject, gemma_english: Path) -> tuple[Measured, ...]:
    """The same, calibrated on English."""
    rival = evaluation.open_subject(gemma_english, dtype=_DTYPE)
    return evaluation.compare(original, rival, public_texts.korean(), tokens=2048)


def _ratio(rows: Sequence[Measured], language: str) -> float:
    """Perplexity after ÷ before over all texts of a language, as if they were one."""
    nats = [
        math.log(row.b.perplexity / row.a.perplexity)
        for row in rows
        if row.language == language and row.b
    ]
    return math.exp(sum(nats) / len(nats))


def test_korean_perplexity_rises_by_a_fifth_at_most(ours: Sequence[Measured]) -> None:
    assert _ratio(ours, "ko") <= 1.20


def test_english_perplexity_rises_by_a_half_at_most(ours: Sequence[Measured]) -> None:
    assert _ratio(ours, "en") <= 1.50


def test_english_calibration_loses_three_times_as_much_korean(
    ours: Sequence[Measured], theirs: Sequence[Measured]
) -> None:
    assert _ratio(ours, "ko") - 1 <= 0.35 * (_ratio(theirs, "ko") - 1)


def test_the_report_in_the_folder_tells_the_loss_on_the_texts_that_ship(gemma_gptq: Path) -> None:
    told = json.loads((gemma_gptq / "report.json").read_text(encoding="utf-8"))
    for sample in told["samples"]:
        assert 1 < sample["ratio"] < 1.5
        assert 0 < sample["drift"]["kl_divergence"] < 0.5
        assert sample["drift"]["top1_agreement"] > 0.6
