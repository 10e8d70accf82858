"""Beam search by transformers' own `generate`, interruptible between two tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from lightkorllm.engines.batch import Job, Limits, Search
from lightkorllm.engines.sampling import processors


class _Between(StoppingCriteria):  # type: ignore[misc, unused-ignore]
    """Gives others their turn after each step, and stops where nobody waits for the answer."""

    def __init__(self, go_on: Callable[[], bool]) -> None:
        self._go_on = go_on

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        stop = not self._go_on()
        return torch.full((len(input_ids),), stop, dtype=torch.bool, device=input_ids.device)


def searcher(model: Any, limits: Limits, *, pad: int) -> Search:
    """Beams follow the likeliest tokens: temperature, top-k, top-p and the seed mean nothing.

    Penalties and biases count as they do without beams.
    """

    def search(job: Job, go_on: Callable[[], bool]) -> list[int]:
        prompt = torch.tensor([job.prompt], device=model.device)
        room = max(1, limits.context - len(job.prompt))
        config = GenerationConfig(  # type: ignore[no-untyped-call, unused-ignore]
            max_new_tokens=min(job.params.max_tokens, room),
            num_beams=job.params.num_beams,
            early_stopping=job.params.early_stopping,
            do_sample=False,
            eos_token_id=sorted(limits.ends) or None,
            pad_token_id=pad,
        )
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=config,
            logits_processor=processors(
                job.params, prompt_length=len(job.prompt), device=model.device
            ),
            stopping_criteria=StoppingCriteriaList([_Between(go_on)]),
        )
        return _trimmed(found[0, len(job.prompt) :].tolist(), limits.ends)

    return search


def _trimmed(ids: list[int], ends: frozenset[int]) -> list[int]:
    """The ids up to and with the first end: what follows is padding."""
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids
