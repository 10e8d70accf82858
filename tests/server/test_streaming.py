"""Streams: headers at once, signs of life, errors inside, and many at a time."""

from __future__ import annotations

import threading
import time

import pytest

from client import call, deltas, events, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, Step, endless, saying
from lightkorllm.errors import EngineFailed
from lightkorllm.generation import GenerationRequest
from live import Serve

ASK = {"input": "안녕?", "stream": True}


@pytest.mark.case("S39")
def test_a_stream_asks_proxies_not_to_collect_it(serve: Serve) -> None:
    answer = call(serve(saying("네")).port, "/inferweb", ASK)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "no-cache" in answer.headers["cache-control"]


@pytest.mark.case("S40")
def test_headers_come_at_once_and_comments_while_the_model_thinks(serve: Serve) -> None:
    live = serve(saying(Pause(3), "네"))
    started = time.monotonic()
    with send_raw(live.port, "/inferweb", ASK) as sock:
        first = next(received(sock))
        assert time.monotonic() - started < 1
        assert first.startswith(b"HTTP/1.1 200")
        rest = b""
        while b"result" not in rest:
            rest += sock.recv(65536)
    assert rest.count(b": ...") >= 2
    assert deltas(rest) == ["네"]


def test_pieces_arrive_while_the_answer_is_made(serve: Serve) -> None:
    live = serve(saying("가", Pause(1), "나"))
    with send_raw(live.port, "/inferweb", ASK) as sock:
        seen = b""
        while "가".encode() not in seen:
            seen += sock.recv(65536)
        assert "나".encode() not in seen


@pytest.mark.case("S10")
def test_a_fault_in_the_middle_is_told_and_the_next_request_works(serve: Serve) -> None:
    steps: list[list[Step]] = [["하나", "둘", EngineFailed("그래픽 카드가 없어졌습니다")], ["네"]]
    live = serve(engine=EchoEngine(lambda request: steps.pop(0)))
    broken = events(call(live.port, "/inferweb", ASK).body)
    assert [event["delta"] for event in broken[:-1]] == ["하나", "둘"]
    assert broken[-1]["error"]["code"] == "engine_failed"
    assert live.idle()
    assert events(call(live.port, "/inferweb", ASK).body)[-1]["result"] == "네"


@pytest.mark.case("S10")
@pytest.mark.parametrize("stream", [True, False])
def test_a_fault_before_the_first_token_is_a_status(serve: Serve, stream: bool) -> None:
    live = serve(saying(EngineFailed("고장")))
    answer = call(live.port, "/inferweb", {**ASK, "stream": stream})
    assert (answer.status, answer.error["code"]) == (500, "engine_failed")
    assert live.idle()


def test_a_bug_of_ours_is_a_500_without_a_traceback(serve: Serve) -> None:
    def bug(request: GenerationRequest) -> list[Step]:
        raise ZeroDivisionError("비밀")

    answer = call(serve(engine=EchoEngine(bug)).port, "/inferweb", {"input": "네?"})
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert b"Zero" not in answer.body
    assert "비밀".encode() not in answer.body


def test_a_bug_in_the_middle_of_a_stream_ends_it_with_an_error_event(serve: Serve) -> None:
    def bug(request: GenerationRequest) -> list[Step]:
        return ["하나", ZeroDivisionError("비밀")]

    live = serve(engine=EchoEngine(bug))
    answer = call(live.port, "/inferweb", ASK)
    assert events(answer.body)[-1]["error"]["code"] == "internal_error"
    assert "비밀".encode() not in answer.body
    assert live.idle()


@pytest.mark.case("S08")
def test_eight_at_once_each_get_their_own_answer(serve: Serve) -> None:
    def say_it_again(request: GenerationRequest) -> list[Step]:
        return [*request.prompt.split("\n")[1]]

    live = serve(engine=EchoEngine(say_it_again, delay=0.005, slots=3))
    wrong: list[str] = []

    def ask(number: int) -> None:
        question = f"{number}번 질문 " * 5
        body = {"input": question, "stream": number % 2 == 0, "max_new_token": 500}
        answer = call(live.port, "/inferweb", body)
        result = events(answer.body)[-1] if number % 2 == 0 else answer.json
        if result["result"] != question.strip():
            wrong.append(result["result"])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert live.idle()


def test_beyond_slots_and_queue_there_is_a_429_with_a_time_to_come_back(serve: Serve) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.02, slots=1, queue=1))
    running = [send_raw(live.port, "/inferweb", {**ASK, "max_new_token": 500}) for _ in range(2)]
    try:
        for sock in running:
            next(received(sock))
        for stream in (True, False):
            answer = call(live.port, "/inferweb", {**ASK, "stream": stream})
            assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
            assert int(answer.headers["retry-after"]) > 0
    finally:
        for sock in running:
            sock.close()
    assert live.idle()
