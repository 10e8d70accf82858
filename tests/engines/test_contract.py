"""The contract that every engine keeps, run on each engine there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from lightkorllm.engines.base import Engine
from lightkorllm.engines.echo import EchoEngine, endless
from lightkorllm.errors import BadRequest, EngineBusy
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

PROMPT = "### 사용자:\n한국의 수도는 어디인가요?\n\n### AI:\n"


@pytest.fixture(params=["echo", "transformers", pytest.param("llamacpp", marks=pytest.mark.model)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param != "echo":
        fixture = {"llamacpp": "llamacpp", "transformers": "reciting"}[request.param]
        real: Engine = request.getfixturevalue(fixture)
        yield real
        assert _free(real)
        return
    echo = EchoEngine(endless("그 "), delay=0.005, slots=4, queue=16)
    yield echo
    assert _free(echo)
    echo.close()


def _free(engine: Engine) -> bool:
    return engine.slots.busy == 0 and engine.slots.waiting == 0


def _ask(tokens: int = 8, **params: object) -> GenerationRequest:
    return GenerationRequest(PROMPT, SamplingParams(max_tokens=tokens, **params))  # type: ignore[arg-type]


def test_a_stream_ends_with_one_finish_reason_and_right_counts(engine: Engine) -> None:
    chunks = list(engine.stream(_ask(8)))
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]
    assert chunks[-1].finish_reason == "length"
    reply = Reply.join(chunks)
    assert reply.usage.completion_tokens == 8
    assert reply.usage.prompt_tokens == engine.count_tokens(PROMPT)


def test_counts_never_go_back_while_streaming(engine: Engine) -> None:
    counts = [chunk.completion_tokens for chunk in engine.stream(_ask(12)) if chunk.text]
    assert counts == sorted(counts)
    assert counts[-1] <= 12


@pytest.mark.case("K01", "K04")
def test_no_chunk_holds_half_a_syllable(engine: Engine) -> None:
    for chunk in engine.stream(_ask(32, temperature=1.0, seed=7)):
        assert "\ufffd" not in chunk.text


@pytest.mark.case("S06")
def test_closing_a_stream_frees_its_slot_at_once(engine: Engine) -> None:
    stream = engine.stream(_ask(800))
    next(chunk for chunk in stream if chunk.text)
    stream.close()
    assert _free(engine)


def test_closing_a_stream_before_its_first_chunk_leaves_nothing_behind(engine: Engine) -> None:
    engine.stream(_ask()).close()
    assert _free(engine)


@pytest.mark.case("S06")
def test_after_many_left_streams_a_new_one_is_answered(engine: Engine) -> None:
    for _ in range(10):
        with closing(engine.stream(_ask(800))) as stream:
            next(chunk for chunk in stream if chunk.text)
    assert Reply.join(engine.stream(_ask(4))).usage.completion_tokens == 4


def test_more_requests_than_slots_wait_their_turn_and_all_are_answered(engine: Engine) -> None:
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(Reply.join(engine.stream(_ask(4)))))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [reply.usage.completion_tokens for reply in replies] == [4] * 10


def test_a_full_queue_refuses_the_next_request(engine: Engine) -> None:
    room = engine.slots.count + engine.slots.queue
    streams = [engine.stream(_ask(400)) for _ in range(room)]
    try:
        for stream in streams:
            next(stream)
        with pytest.raises(EngineBusy):
            next(engine.stream(_ask()))
    finally:
        for stream in streams:
            stream.close()


def test_waiting_for_a_slot_gives_signs_of_life(engine: Engine) -> None:
    running = [engine.stream(_ask(400)) for _ in range(engine.slots.count)]
    try:
        for stream in running:
            next(stream)
        started = time.monotonic()
        with closing(engine.stream(_ask())) as waiting:
            assert next(waiting).text == ""
        assert time.monotonic() - started < 1
    finally:
        for stream in running:
            stream.close()


def test_an_unknown_adapter_is_refused_by_name(engine: Engine) -> None:
    request = GenerationRequest(PROMPT, adapter="없는것")
    with pytest.raises(BadRequest, match="없는것") as refused:
        next(engine.stream(request))
    assert refused.value.param == "adapter"


def test_asking_for_no_adapter_is_always_possible(engine: Engine) -> None:
    request = GenerationRequest(PROMPT, SamplingParams(max_tokens=4), "none")
    assert Reply.join(engine.stream(request)).usage.completion_tokens == 4


@pytest.mark.case("K22")
def test_tokens_are_counted_by_the_model_and_include_one_bos(engine: Engine) -> None:
    bos = engine.info.bos
    assert engine.count_tokens("가" * 100) > engine.count_tokens("가" * 10) > 1
    if bos:
        assert engine.count_tokens(bos + PROMPT) == engine.count_tokens(PROMPT)


def test_the_engine_says_what_it_is(engine: Engine) -> None:
    assert engine.info.name
    assert engine.info.context_length >= 1024
    assert engine.ready
