"""The next token of one row: transformers' own processors, in its order, with a row's own dice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from lightkorllm.generation import SamplingParams

_LEAST_TOP_P = 1e-3  # at 0, rounding in the sum of probabilities lets unlikely tokens through


class CountPenalties(LogitsProcessor):
    """OpenAI's presence and frequency penalties: of what was answered, not of the prompt.

    logit − presence · (count > 0) − frequency · count.
    """

    def __init__(self, presence: float, frequency: float, *, prompt_length: int) -> None:
        self._presence = presence
        self._frequency = frequency
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = input_ids[:, self._prompt_length :]
        counts = torch.zeros_like(scores).scatter_add_(
            1, said, torch.ones_like(said, dtype=scores.dtype)
        )
        return scores - self._presence * (counts > 0) - self._frequency * counts


class Bias(LogitsProcessor):
    """Adds to the logits of token ids, which must be ids of the model."""

    def __init__(self, bias: tuple[tuple[int, float], ...], *, device: torch.device) -> None:
        self._ids = torch.tensor([token for token, _ in bias], device=device)
        self._added = torch.tensor([added for _, added in bias], device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_add(1, self._ids, self._added.to(scores).expand(len(scores), -1))


def processors(
    params: SamplingParams, *, prompt_length: int, device: torch.device
) -> LogitsProcessorList:
    """What changes the logits before a choice is made, for sampling, greedy search and beams."""
    made = LogitsProcessorList()
    if params.logit_bias:
        made.append(Bias(params.logit_bias, device=device))
    if params.repetition_penalty != 1:
        made.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.presence_penalty or params.frequency_penalty:
        made.append(
            CountPenalties(
                params.presence_penalty, params.frequency_penalty, prompt_length=prompt_length
            )
        )
    return made


@dataclass(frozen=True, slots=True)
class Rated:
    """A token's natural log-probability under the model itself, and the likeliest tokens'."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses one row's tokens; remembers them for the penalties. Same seed, same choices."""

    def __init__(
        self, params: SamplingParams, prompt: list[int], *, room: int, device: torch.device
    ) -> None:
        self._params = params
        self._ids = torch.zeros(1, len(prompt) + room + 1, dtype=torch.long, device=device)
        self._ids[0, : len(prompt)] = torch.tensor(prompt, device=device)
        self._length = len(prompt)
        self._processors = processors(params, prompt_length=len(prompt), device=device)
        self._warpers = _warpers(params)
        self._dice = torch.Generator(device=device)
        if params.seed is None:
            self._dice.seed()
        else:
            self._dice.manual_seed(params.seed)

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token's id, of shape [1], for float logits of shape [1, vocabulary]."""
        chosen = self._pick(self._processors(self._said(), logits))
        self._ids[0, self._length] = chosen[0]
        self._length += 1
        return chosen

    def rate(self, logits: torch.Tensor, token_id: int) -> Rated | None:
        """The chosen token's log-probability before penalties; None where it wasn't asked for."""
        if self._params.logprobs is None:
            return None
        logprobs = torch.log_softmax(logits[0], dim=-1)
        best = torch.topk(logprobs, self._params.logprobs)
        top = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Rated(float(logprobs[token_id]), tuple(top))

    def _said(self) -> Any:
        return self._ids[:, : self._length]

    def _pick(self, scores: torch.Tensor) -> torch.Tensor:
        if self._params.temperature == 0:
            return scores.argmax(dim=-1)
        ids = None
        if 0 < self._params.top_k < scores.shape[-1]:
            scores, ids = _likeliest(scores, self._params.top_k)
        scores = self._warpers(self._said(), scores)
        drawn = torch.multinomial(torch.softmax(scores, dim=-1), 1, generator=self._dice)
        return (drawn if ids is None else ids.gather(1, drawn))[0]


def _likeliest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best scores and their ids, by id: by rank, rounding could swap two and their dice."""
    ids = torch.topk(scores, count, sorted=False).indices.sort(dim=-1).values
    return scores.gather(1, ids), ids


def _warpers(params: SamplingParams) -> LogitsProcessorList:
    """Temperature, then top-p and min-p; top-k comes first, so that these see few candidates."""
    made = LogitsProcessorList()
    if params.temperature not in (0, 1):
        made.append(TemperatureLogitsWarper(params.temperature))
    if params.top_p < 1:
        made.append(TopPLogitsWarper(max(params.top_p, _LEAST_TOP_P)))
    if params.min_p > 0:
        made.append(MinPLogitsWarper(params.min_p))
    return made
