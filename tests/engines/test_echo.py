"""The echo engine plays what it was told."""

from __future__ import annotations

import pytest

from lightkorllm.engines.echo import EchoEngine, Pause, endless, saying
from lightkorllm.errors import EngineFailed
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams


def _play(engine: EchoEngine, max_tokens: int = 256) -> Reply:
    request = GenerationRequest("질문", SamplingParams(max_tokens=max_tokens))
    return Reply.join(engine.stream(request))


@pytest.mark.case("K01", "K03")
def test_bytes_that_split_a_syllable_come_out_whole() -> None:
    engine = EchoEngine(saying(b"\xec\x8a", b"\xb5", "니다"))
    assert _play(engine).text == "습니다"


@pytest.mark.case("K29")
def test_an_endless_script_ends_at_max_tokens_with_length() -> None:
    reply = _play(EchoEngine(endless("그 ")), max_tokens=5)
    assert (reply.text, reply.finish_reason) == ("그 " * 5, "length")


def test_a_script_that_ends_by_itself_stops_even_at_exactly_max_tokens() -> None:
    assert _play(EchoEngine(saying("가", "나")), max_tokens=2).finish_reason == "stop"


def test_a_pause_gives_signs_of_life() -> None:
    engine = EchoEngine(saying(Pause(0.6), "네"))
    texts = [chunk.text for chunk in engine.stream(GenerationRequest("질문"))]
    assert texts[:1] == [""]
    assert "".join(texts) == "네"


def test_a_fault_is_raised_and_frees_the_slot() -> None:
    engine = EchoEngine(saying("네", EngineFailed("고장")))
    with pytest.raises(EngineFailed):
        _play(engine)
    assert engine.slots.busy == 0
