"""What to change where a model does not fit, mildest first, each with what is needed then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lightkorllm import memory
from lightkorllm.finetuning.base import Base
from lightkorllm.fitting import places, serving
from lightkorllm.fitting.places import Place
from lightkorllm.fitting.serving import Load

_LEAST_CONTEXT = 512
_MOST_CHANGES = 3
_FOUR_BIT_GGUF = 4.85  # bits of a weight in Q4_K_M, its wider tensors included


@dataclass(frozen=True, slots=True)
class Change:
    """Something to change, in Korean, and bytes of the place that are needed then."""

    words: str
    total: int


def that_fit(model: Base, load: Load, place: Place) -> Iterator[Change]:
    """The first ways that fit and have no needless step; else a part of the layers on a card."""
    taken: list[frozenset[str]] = []
    for way in _milder(_Try(frozenset(), (), model, load)):
        total = serving.need(way.model, way.load).needed
        if total <= place.room and not any(kinds <= way.kinds for kinds in taken):
            taken.append(way.kinds)
            yield Change(" ".join(way.words), total)
            if len(taken) == _MOST_CHANGES:
                return
    if not taken and place.kind == "card" and serving.can_be_gguf(model):
        yield from _partly_on_card(model, load, place)


@dataclass(frozen=True, slots=True)
class _Try:
    """A way to take less: the kinds of its steps, their words, and the model and load then."""

    kinds: frozenset[str]
    words: tuple[str, ...]
    model: Base
    load: Load

    def then(self, kind: str, words: str, **changes: Any) -> _Try:
        return _Try(
            self.kinds | {kind}, (*self.words, words), self.model, replace(self.load, **changes)
        )


def _milder(now: _Try) -> Iterator[_Try]:
    """Ways to take less memory, mildest first."""
    yield from _same_weights(now)
    for packed in _fewer_bits(now):
        yield packed
        yield from _same_weights(packed)


def _same_weights(now: _Try) -> Iterator[_Try]:
    starts = [now]
    if now.load.engine == "llamacpp" and now.load.kv_type == "f16":
        starts.append(now.then("kv", "--kv_type q8_0", kv_type="q8_0"))
        yield starts[-1]
    for start in list(starts):
        if start.load.requests > 1:
            starts.append(start.then("parallel", "--n_parallel 1", requests=1))
            yield starts[-1]
    for start in starts:
        tokens = start.load.context // 2
        while tokens >= _LEAST_CONTEXT:
            yield start.then("context", f"--context_length {tokens}", context=tokens)
            tokens //= 2


def _fewer_bits(now: _Try) -> Iterator[_Try]:
    """The model in 4 bit, where it has more."""
    shape = now.model.shape
    if now.model.is_gptq or shape.stored * 8 < 6 * shape.parameters:
        return
    if now.model.checkpoint is None:
        less = replace(shape, stored=int(shape.parameters * _FOUR_BIT_GGUF / 8))
        words = "4비트 GGUF(Q4_K_M)"
    else:
        size = shape.quantised()
        rest = (shape.parameters - shape.linear) * 2
        less = replace(shape, stored=size, packed=size - rest)
        words = f"4비트로 양자화(lightkorllm quantize --model {now.model.name})"
    model = replace(now.model, shape=less)
    yield _Try(now.kinds | {"bits"}, (*now.words, words), model, now.load)


def _partly_on_card(model: Base, load: Load, place: Place) -> Iterator[Change]:
    """llama.cpp with as many layers on the card as fit, the rest in main memory."""
    load = replace(load, engine="llamacpp")
    need, layers = serving.need(model, load), max(1, model.shape.layers)
    fixed = need.activations + need.overhead
    each = (need.weights + need.cache) // layers
    on_card = min(layers, (place.room - fixed) // max(1, each))
    rest = (layers - on_card) * each
    if on_card < 1 or rest > places.main_memory().room:
        return
    yield Change(
        f"GGUF로 {on_card}/{layers}층만 카드에(--engine llamacpp --gpu_layers {on_card}, 나머지 "
        f"{memory.text(rest)}는 주 메모리. GPU용 xllamacpp가 있어야 합니다)",
        fixed + on_card * each,
    )
