"""How well a model predicts a text, and how far another strays from it.

Perplexity is the exponential of the mean negative log-likelihood per token. Bits per byte spread
the same over the bytes of the text, so that models with other vocabularies compare. The
Kullback–Leibler divergence (nats per token) and top-1 agreement compare two models that share a
vocabulary, position by position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightkorllm.errors import ModelBroken, OptionError
from lightkorllm.evaluation.subject import Subject

WINDOW = 512  # tokens that a prediction can look back on at most
_ROWS = 64  # positions whose logits are widened to float32 at a time


@dataclass(frozen=True, slots=True)
class Sample:
    """A text to measure on: its `name` in tables, its language (`ko`, `en`) and the text."""

    name: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a model predicts one sample; `tokens` were predicted."""

    perplexity: float
    bits_per_byte: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How far model B strays from A: nats per token, and the share of equal first choices."""

    kl_divergence: float
    top1_agreement: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One sample on model A and, where there is one, on B."""

    sample: str
    language: str
    a: Fit
    b: Fit | None = None
    drift: Drift | None = None

    @property
    def ratio(self) -> float | None:
        """B's perplexity as a multiple of A's."""
        return self.b.perplexity / self.a.perplexity if self.b else None


def compare(
    a: Subject, b: Subject | None, samples: Sequence[Sample], *, tokens: int = 4096
) -> tuple[Measured, ...]:
    """Measure models on the first `tokens` tokens of each sample, `WINDOW` at a time.

    Both are asked about A's tokens. Raises `ModelBroken` where their vocabularies differ.
    """
    if tokens < 2:
        raise OptionError("--tokens", f"2 이상이어야 합니다 (받은 값: {tokens})")
    if b is not None:
        _require_same_vocabulary(a, b)
    return tuple(_measure(a, b, sample, tokens) for sample in samples)


def _require_same_vocabulary(a: Subject, b: Subject) -> None:
    probe = "한국어 문장 하나로 낱말을 나누어 봅니다. 가냘프다, 3.14, café"
    if a.tokenizer(probe)["input_ids"] != b.tokenizer(probe)["input_ids"]:
        raise ModelBroken(
            f"{a.name}과(와) {b.name}의 토크나이저가 달라 나란히 잴 수 없습니다. "
            "같은 모델에서 나온 둘을 주세요."
        )


def _measure(a: Subject, b: Subject | None, sample: Sample, tokens: int) -> Measured:
    totals_a, totals_b, drift = _Total(), _Total(), _DriftTotal()
    for window in _windows(a.tokenizer, sample.text, tokens):
        text = a.tokenizer.decode(window[1:], skip_special_tokens=False)
        size = len(text.encode())
        for left, right, target in _logits(a, b, window):
            totals_a.add(left, target)
            if right is not None:
                totals_b.add(right, target)
                drift.add(left, right)
        totals_a.bytes += size
        totals_b.bytes += size
    if not totals_a.count:
        raise OptionError("--text", f"{sample.name} 글이 비어 있습니다")
    if b is None:
        return Measured(sample.name, sample.language, totals_a.fit())
    return Measured(
        sample.name, sample.language, totals_a.fit(), totals_b.fit(), drift.mean(totals_a.count)
    )


def _windows(tokenizer: Any, text: str, tokens: int) -> Iterator[list[int]]:
    """The text's first tokens in windows, each opened by the BOS where the model knows one."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:tokens]
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    step = WINDOW - len(start)
    for at in range(0, len(ids), step):
        window = start + ids[at : at + step]
        if len(window) > 1:
            yield window


def _logits(a: Subject, b: Subject | None, window: list[int]) -> Iterator[tuple[Any, Any, Any]]:
    """Log-probabilities of A and B and the tokens that came, `_ROWS` positions at a time."""
    import torch

    ids = torch.tensor([window])
    with torch.inference_mode():
        left = a.model(ids.to(a.model.device), use_cache=False).logits[0, :-1]
        right = b.model(ids.to(b.model.device), use_cache=False).logits[0, :-1] if b else None
        for at in range(0, left.shape[0], _ROWS):
            rows = slice(at, at + _ROWS)
            yield (
                torch.log_softmax(left[rows].float().cpu(), -1),
                None if right is None else torch.log_softmax(right[rows].float().cpu(), -1),
                ids[0, 1:][rows],
            )


class _Total:
    """Negative log-likelihood summed up over tokens."""

    def __init__(self) -> None:
        self.nats = 0.0
        self.count = 0
        self.bytes = 0

    def add(self, logs: Any, target: Any) -> None:
        self.nats -= float(logs.gather(1, target[:, None]).double().sum())
        self.count += len(target)

    def fit(self) -> Fit:
        mean = self.nats / self.count
        return Fit(
            perplexity=math.exp(mean) if mean < 700 else math.inf,
            bits_per_byte=self.nats / math.log(2) / max(1, self.bytes),
            tokens=self.count,
        )


class _DriftTotal:
    """Divergence and agreement summed up over positions."""

    def __init__(self) -> None:
        self.nats = 0.0
        self.agreed = 0

    def add(self, left: Any, right: Any) -> None:
        import torch

        width = min(left.shape[1], right.shape[1])  # vocabularies padded to another size
        left, right = left[:, :width], right[:, :width]
        self.nats += float(
            torch.nn.functional.kl_div(right, left, reduction="sum", log_target=True)
        )
        self.agreed += int((left.argmax(1) == right.argmax(1)).sum())

    def mean(self, count: int) -> Drift:
        return Drift(self.nats / count, self.agreed / count)
