"""Clients that leave: their place is free within a second, whenever they go."""

from __future__ import annotations

import contextlib
import random
import socket
import time

import psutil
import pytest

from client import call, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, endless, saying
from live import Serve

ASK = {"input": "안녕?", "max_new_token": 2048}


@pytest.mark.case("S06")
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_in_the_middle_stops_the_work(serve: Serve, stream: bool) -> None:
    engine = EchoEngine(endless("그 "), delay=0.01)
    live = serve(engine=engine)
    with send_raw(live.port, "/inferweb", {**ASK, "stream": stream}):
        while engine.steps_played < 5:
            time.sleep(0.01)
    assert live.idle(within=1)
    steps = engine.steps_played
    time.sleep(0.2)
    assert engine.steps_played == steps


@pytest.mark.case("S07")
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_before_the_first_token_frees_its_place(
    serve: Serve, stream: bool
) -> None:
    live = serve(saying(Pause(30), "네"))
    with send_raw(live.port, "/inferweb", {**ASK, "stream": stream}):
        while not live.engine.slots.busy:
            time.sleep(0.01)
    assert live.idle(within=1)


@pytest.mark.case("S07")
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_the_queue_frees_its_place(serve: Serve, stream: bool) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.05, slots=1, queue=5))
    with send_raw(live.port, "/inferweb", {**ASK, "stream": True}) as running:
        next(received(running))
        with send_raw(live.port, "/inferweb", {**ASK, "stream": stream}):
            while not live.engine.slots.waiting:
                time.sleep(0.01)
        end = time.monotonic() + 1
        while live.engine.slots.waiting and time.monotonic() < end:
            time.sleep(0.01)
        assert live.engine.slots.waiting == 0
        assert live.engine.slots.busy == 1


def test_two_hundred_dropped_connections_leave_nothing_behind(serve: Serve) -> None:
    live = serve(engine=EchoEngine(saying(Pause(0.3), *["그 "] * 500), delay=0.01))
    chance = random.Random(7)
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(200):
        sock = send_raw(live.port, "/inferweb", {**ASK, "stream": chance.random() < 0.7})
        moment = chance.choice(["before", "first", "after"])
        if moment == "first":
            time.sleep(chance.random() * 0.05)
        elif moment == "after":
            sock.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                sock.recv(4096)
        if chance.random() < 0.5:  # a reset instead of a polite end
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        sock.close()
    assert live.idle(within=3)
    assert call(live.port, "/inferweb", {"input": "안녕?", "max_new_token": 3}).status == 200
    assert process.memory_info().rss - before < 30 * 2**20


@pytest.mark.model
def test_dropped_connections_free_the_real_engine_too(serve: Serve, llamacpp: EchoEngine) -> None:
    live = serve(engine=llamacpp)
    chance = random.Random(11)
    for _ in range(60):
        with send_raw(live.port, "/chatweb", {**ASK, "stream": True}):
            if chance.random() < 0.6:
                time.sleep(chance.random() * 0.3)
    assert live.idle(within=3)
    answer = call(live.port, "/chatweb", {"input": "안녕?", "max_new_token": 4})
    assert answer.json["usage"]["completion_tokens"] <= 4
    assert answer.status == 200


def test_a_stalled_reader_does_not_hold_up_others(serve: Serve) -> None:
    live = serve(engine=EchoEngine(endless("그" * 1000), slots=2))
    with send_raw(live.port, "/inferweb", {**ASK, "stream": True}):
        time.sleep(0.3)
        body = {"input": "안녕?", "max_new_token": 2}
        assert call(live.port, "/inferweb", body, timeout=5).status == 200
    assert live.idle(within=2)
