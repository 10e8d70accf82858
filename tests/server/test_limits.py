"""Limits: how often and how much at once one key may ask, and when to come back."""

from __future__ import annotations

import contextlib
import socket
import time

import psutil
import pytest

from client import Answer, call, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, Step, endless, saying
from lightkorllm.errors import EngineFailed, LimitReached, OptionError
from lightkorllm.server.limits import Limits
from live import LiveServer, Serve

ASK = {"input": "안녕?"}


def _ask(live: LiveServer, key: str = "", **body: object) -> Answer:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return call(live.port, "/inferweb", {**ASK, **body}, headers=headers)


def _refused(answer: Answer) -> int:
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    return int(answer.headers["retry-after"])


def test_each_key_has_its_own_rate(serve: Serve) -> None:
    live = serve(saying("네"), api_key=("민수:a", "지영:b"), rate_limit="2/minute")
    assert [_ask(live, "a").status for _ in range(2)] == [200, 200]
    assert 50 <= _refused(_ask(live, "a")) <= 60
    assert _ask(live, "b").status == 200


def test_two_keys_of_one_name_share_a_rate(serve: Serve) -> None:
    live = serve(saying("네"), api_key=("민수:old", "민수:new"), rate_limit="1/minute")
    assert _ask(live, "old").status == 200
    _refused(_ask(live, "new"))


def test_without_keys_the_address_is_limited(serve: Serve) -> None:
    live = serve(saying("네"), rate_limit="1/hour")
    assert _ask(live).status == 200
    _refused(_ask(live))


def test_after_the_time_it_was_told_a_client_may_ask_again(serve: Serve) -> None:
    live = serve(saying("네"), rate_limit="1/second")
    assert _ask(live).status == 200
    time.sleep(_refused(_ask(live)))
    assert _ask(live).status == 200


def test_looking_costs_nothing_and_bad_questions_count(serve: Serve) -> None:
    live = serve(saying("네"), rate_limit="2/minute")
    for path in ("/health", "/metrics", "/v1/models"):
        assert [call(live.port, path).status for _ in range(3)] == [200] * 3
    assert call(live.port, "/inferweb", {"무엇": 1}).status == 400
    assert _ask(live).status == 200
    _refused(_ask(live))


def test_a_wrong_key_uses_up_nobodys_rate(serve: Serve) -> None:
    live = serve(saying("네"), api_key=("a",), rate_limit="1/minute")
    assert [_ask(live, "x").status for _ in range(3)] == [401] * 3
    assert _ask(live, "a").status == 200


def test_of_several_rates_the_tightest_holds() -> None:
    limits = Limits("2/second;3/hour")
    limits.enter("민수")
    limits.enter("민수")
    with pytest.raises(LimitReached) as refused:
        limits.enter("민수")
    assert refused.value.retry_after == 1
    time.sleep(1.05)
    limits.enter("민수")
    with pytest.raises(LimitReached) as refused:
        limits.enter("민수")
    assert refused.value.retry_after > 3000


@pytest.mark.case("S46")
def test_bodies_over_the_limit_are_refused_before_they_are_kept(serve: Serve) -> None:
    live = serve(saying("네"))
    process = psutil.Process()
    before = process.memory_info().rss
    head = "POST /inferweb HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n"
    for header in ("Content-Length: 10485760", "Transfer-Encoding: chunked") * 10:
        with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
            sock.sendall(head.format(header).encode())
            with contextlib.suppress(OSError):  # it may be closed while we send
                for _ in range(160 if "chunked" in header else 0):
                    sock.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n")
            answer = b""
            with contextlib.suppress(OSError):
                answer = b"".join(received(sock))
        assert not answer or answer.startswith(b"HTTP/1.1 413")
        assert answer or "chunked" in header
    assert process.memory_info().rss - before < 50 * 2**20
    assert _ask(live).status == 200
    assert live.engine.slots.busy == 0


@pytest.mark.parametrize("rate", ["많이", "30", "30/분", "0/minute", "-1/minute"])
def test_a_rate_that_cannot_be_read_is_refused(rate: str) -> None:
    with pytest.raises(OptionError, match="--rate_limit"):
        Limits(rate)


def test_one_key_gets_only_so_many_answers_at_once(serve: Serve) -> None:
    live = serve(
        engine=EchoEngine(endless("그 "), delay=0.02), api_key=("a", "b"), max_concurrent=1
    )
    body = {**ASK, "stream": True, "max_new_token": 2000}
    with send_raw(live.port, "/inferweb", body, key="a") as running:
        next(received(running))
        assert _refused(_ask(live, "a")) > 0
        assert _ask(live, "b", max_new_token=2).status == 200
    assert live.idle(within=2)
    end = time.monotonic() + 2
    while _ask(live, "a", max_new_token=2).status == 429:
        assert time.monotonic() < end


@pytest.mark.parametrize("stream", [True, False])
def test_answers_that_end_or_fail_give_their_place_back(serve: Serve, stream: bool) -> None:
    steps: list[list[Step]] = [[EngineFailed("고장")], ["하나", EngineFailed("고장")], ["네"]]
    live = serve(engine=EchoEngine(lambda request: steps.pop(0)), max_concurrent=1)
    for _ in range(2):
        _ask(live, stream=stream)
    assert call(live.port, "/inferweb", {"무엇": 1}).status == 400
    assert _ask(live, stream=stream).status == 200


def test_a_refused_question_does_not_use_up_the_rate() -> None:
    limits = Limits("2/hour", concurrent=1)
    limits.enter("민수")
    with pytest.raises(LimitReached):
        limits.enter("민수")
    limits.leave("민수")
    limits.enter("민수")


def test_a_client_that_left_before_the_first_token_gives_its_place_back(serve: Serve) -> None:
    live = serve(saying(Pause(0.5), "네"), max_concurrent=1)
    with send_raw(live.port, "/inferweb", ASK):
        while not live.engine.slots.busy:
            time.sleep(0.01)
    assert live.idle(within=1)
    time.sleep(0.1)
    assert _ask(live).status == 200
