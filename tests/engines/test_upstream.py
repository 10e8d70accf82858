"""The wire client against servers that behave, misbehave and break off."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lightkorllm.engines.exchange import Origin
from lightkorllm.engines.upstream import LLAMA_SERVER, EventLines, Upstream
from lightkorllm.errors import (
    BadRequest,
    ContextOverflow,
    EngineFailed,
    EngineUnavailable,
    LightKorError,
)
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

Say = Callable[[bytes], Upstream]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture
def saying() -> Iterator[Say]:
    """An upstream that answers one connection with exactly these bytes, then hangs up."""
    listeners: list[socket.socket] = []

    def start(answer: bytes) -> Upstream:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):  # clients may hang up at any moment
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(2)
                while connection.recv(65536):
                    pass

        threading.Thread(target=run, daemon=True).start()
        port = listener.getsockname()[1]
        return Upstream(
            Origin("http", "127.0.0.1", port), dialect=LLAMA_SERVER, key="비밀".encode().hex()
        )

    yield start
    for listener in listeners:
        listener.close()


def _ask(upstream: Upstream) -> Reply:
    return Reply.join(upstream.complete(GenerationRequest("질문", SamplingParams()), {}))


def _event(data: object) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _text(text: str, finish: str | None = None) -> bytes:
    return _event({"choices": [{"text": text, "finish_reason": finish}]})


def _http(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data


def test_usage_that_comes_after_the_finish_is_counted(saying: Say) -> None:
    usage = {
        "choices": [],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }
    reply = _ask(
        saying(OK + _text("안") + _text("녕", "stop") + _event(usage) + b"data: [DONE]\n\n")
    )
    assert (reply.text, reply.finish_reason) == ("안녕", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (7, 2)
    assert reply.usage.cached_tokens == 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_however_their_bytes_are_cut(end: bytes, size: int) -> None:
    stream = end.join(
        [
            ": 주석".encode(),
            b"",
            "data: 안녕".encode(),
            b"",
            b"event: x",
            b"data: a",
            b"data:b",
            b"",
            b"",
        ]
    )
    lines = EventLines()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [event for piece in pieces for event in lines.feed(piece)] == ["안녕", "a\nb"]


@pytest.mark.parametrize(
    "answer",
    [
        OK + _text("안녕"),
        OK + b"data: {broken\n\n",
        OK + b"data: [1, 2]\n\n",
        OK + b'data: "x"\n\n',
        OK + _event({"choices": "x"}),
        OK + _event({"choices": [7]}),
        OK + _event({"choices": [], "usage": {"prompt_tokens": "많이"}}),
        OK + _event({"error": "고장"}),
        OK + _event({"error": {"message": "고장", "code": "x"}}),
        OK + b"data: " + b"a" * 5_000_000,
        _http(500, {"error": {"message": "고장"}}),
        _http(500, ["고장"]),
        _http(404, "x"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_of_the_engine(saying: Say, answer: bytes) -> None:
    with pytest.raises(EngineFailed):
        _ask(saying(answer))


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_a_connection_lost_before_an_answer_may_be_tried_again(saying: Say, answer: bytes) -> None:
    with pytest.raises(EngineUnavailable):
        _ask(saying(answer))


def test_a_flood_of_headers_is_not_swallowed(saying: Say) -> None:
    flood = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000
    with pytest.raises(LightKorError):
        _ask(saying(flood))


@pytest.mark.case("S30")
def test_a_context_error_becomes_ours_with_both_numbers(saying: Say) -> None:
    error = {"type": "exceed_context_size_error", "n_prompt_tokens": 900, "n_ctx": 512}
    with pytest.raises(ContextOverflow) as refused:
        _ask(saying(_http(400, {"error": error})))
    assert (refused.value.prompt_tokens, refused.value.context_length) == (901, 512)


def test_other_refusals_are_the_clients_and_503_is_a_matter_of_time(saying: Say) -> None:
    with pytest.raises(BadRequest, match="grammar"):
        _ask(saying(_http(400, {"error": {"message": "bad grammar"}})))
    with pytest.raises(EngineUnavailable):
        _ask(saying(_http(503, {"error": {"message": "Loading model"}})))


def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        origin = Origin("http", "127.0.0.1", sock.getsockname()[1])
        with pytest.raises(EngineUnavailable):
            _ask(Upstream(origin, dialect=LLAMA_SERVER))
        assert not Upstream(origin, dialect=LLAMA_SERVER).healthy()


def test_silence_gives_signs_of_life_and_closing_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Upstream(
            Origin("http", "127.0.0.1", listener.getsockname()[1]), dialect=LLAMA_SERVER
        )
        stream = upstream.complete(GenerationRequest("질문"), {})
        started = time.monotonic()
        assert next(stream).text == ""
        assert time.monotonic() - started < 1
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            assert b"POST /v1/completions" in connection.recv(65536)
            stream.close()
            while connection.recv(65536):
                pass  # until the other side hangs up


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x", "http://h:99999", "http://[::"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(BadRequest):
        Origin.from_url(url)


def test_an_address_keeps_its_port_and_path() -> None:
    assert str(Origin.from_url("http://127.0.0.1:8000/a/")) == "http://127.0.0.1:8000/a"
    assert Origin.from_url("https://h").port == 443
