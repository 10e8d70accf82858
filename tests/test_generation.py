"""Parameters refuse nonsense; replies are their streams joined."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lightkorllm.errors import BadRequest
from lightkorllm.generation import WAITING, Reply, SamplingParams, TokenChunk


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", -1),
        ("repetition_penalty", 0),
        ("num_beams", 0),
        ("seed", -1),
        ("seed", 2**32 - 1),
        ("stop", ("",)),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        SamplingParams(**{name: value})
    assert refused.value.param == name


def test_stop_strings_become_a_tuple() -> None:
    assert SamplingParams(stop=["가", "나"]).stop == ("가", "나")  # type: ignore[arg-type]


def test_a_reply_is_its_chunks_joined_with_the_last_counts() -> None:
    chunks = [
        WAITING,
        TokenChunk("안", completion_tokens=1, prompt_tokens=7),
        WAITING,
        TokenChunk("녕", completion_tokens=2, prompt_tokens=7, cached_tokens=3),
        TokenChunk(completion_tokens=2, finish_reason="length"),
    ]
    reply = Reply.join(chunks)
    assert (reply.text, reply.finish_reason) == ("안녕", "length")
    assert (reply.usage.total_tokens, reply.usage.cached_tokens) == (9, 3)
