"""What is asked of an engine and what comes back: parameters, request, chunks, reply."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lightkorllm.errors import BadRequest

FinishReason = Literal["stop", "length"]

MAX_SEED = 2**32 - 2  # llama.cpp keeps 2**32 - 1 for "draw one"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen and when to stop.

    `temperature` 0 is greedy. `top_k` 0 and `top_p` 1 switch those filters off. `seed` None draws
    a new seed each time. `num_beams` above 1 needs an engine that can search with beams,
    `json_schema` (a JSON schema as text) one that can bind an answer to it. `logit_bias` adds to
    the logits of token ids. `logprobs` asks for each token's log-probability and so many
    alternatives.
    """

    max_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 40
    min_p: float = 0.05
    repetition_penalty: float = 1.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    json_schema: str | None = None
    logprobs: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_beams: int = 1
    early_stopping: bool = False

    def __post_init__(self) -> None:
        for name in LIMITS:
            if name != "logit_bias" and getattr(self, name) is not None:
                _check(name, getattr(self, name))
        for token, bias in self.logit_bias:
            _check("logit_bias", bias)
            if not 0 <= token < 2**31:
                raise BadRequest("logit_bias", f"그런 토큰 번호는 없습니다 (받은 값: {token})")
        object.__setattr__(self, "stop", tuple(self.stop))
        if "" in self.stop:
            raise BadRequest("stop", "빈 문자열은 정지 문자열이 될 수 없습니다")


LIMITS: dict[str, tuple[float, float]] = {
    "max_tokens": (1, math.inf),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 2**31 - 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 10),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "num_beams": (1, 64),
    "seed": (0, MAX_SEED),
    "logit_bias": (-100, 100),
    "logprobs": (0, 20),
}
"""The least and the most that each parameter may be; the documentation says the same numbers."""


def _check(name: str, value: float) -> None:
    low, high = LIMITS[name]
    if not low <= value <= high:  # also false for NaN
        limits = f"{low} 이상이어야" if high == math.inf else f"{low} 이상 {high} 이하여야"
        raise BadRequest(name, f"{limits} 합니다 (받은 값: {value})")


NO_ADAPTER = "none"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A rendered prompt and how to continue it.

    `adapter` is a name that the engine was started with, `NO_ADAPTER` for the model as it is, or
    None for what the engine does by default.
    """

    prompt: str
    params: SamplingParams = SamplingParams()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token's bytes (perhaps half a syllable), its natural log-probability, and its rivals'."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenChunk:
    """The next piece of an answer; its text is whole characters.

    Counts are totals so far, in tokens, and 0 while unknown. A chunk with no text and no
    `finish_reason` only says "still waiting": engines send one at least every half second,
    so that a reader who has left is noticed. The last chunk of a stream has a `finish_reason`.
    """

    text: str = ""
    completion_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


WAITING = TokenChunk()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()

    @classmethod
    def join(cls, chunks: Iterable[TokenChunk]) -> Reply:
        """The answer that a stream adds up to."""
        texts: list[str] = []
        logprobs: list[TokenLogprob] = []
        last = WAITING
        prompt = cached = completion = 0
        for last in chunks:
            texts.append(last.text)
            logprobs += last.logprobs
            prompt = max(prompt, last.prompt_tokens)
            cached = max(cached, last.cached_tokens)
            completion = max(completion, last.completion_tokens)
        usage = Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
        return cls("".join(texts), last.finish_reason or "stop", usage, tuple(logprobs))
