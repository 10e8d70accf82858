"""A running server answers: over OpenAI's wire, with its adapters and context, and its faults."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lightkorllm.conversation import Conversation
from lightkorllm.engines.echo import EchoEngine, endless, saying
from lightkorllm.errors import EngineFailed, LightKorError, OptionError
from lightkorllm.generation import NO_ADAPTER, GenerationRequest, Reply
from lightkorllm.terminal.options import TerminalOptions
from lightkorllm.terminal.remote import RemoteBackend, open_remote
from lightkorllm.terminal.settings import Settings
from live import LiveServer, Serve

TALK = Conversation.ask("안녕?", system="친절하게")


def _open(live: LiveServer, **options: str) -> RemoteBackend:
    return open_remote(f"http://127.0.0.1:{live.port}", **options)


def test_a_server_answers_with_counts_and_context(serve: Serve) -> None:
    live = serve(saying("반가", "워요", "."))
    backend = _open(live)
    assert (backend.model.name, backend.model.context_length) == ("echo", 8192)
    reply = Reply.join(backend.ask(TALK, Settings(), adapter=None).chunks)
    assert (reply.text, reply.finish_reason) == ("반가워요.", "stop")
    assert reply.usage.completion_tokens == 3
    assert reply.usage.prompt_tokens == live.engine.count_tokens(
        "친절하게\n\n### 사용자:\n안녕?\n\n### AI:\n"
    )


def test_settings_and_adapters_go_with_the_question(serve: Serve) -> None:
    asked: list[GenerationRequest] = []

    def script(request: GenerationRequest) -> list[str]:
        asked.append(request)
        return ["네"] * 9

    backend = _open(
        serve(engine=EchoEngine(script, adapters=("반말", "존댓말"), default_adapter="반말"))
    )
    assert backend.model.adapters == ("반말", "존댓말")
    assert backend.model.default_adapter == "반말"
    for adapter in (None, "존댓말", NO_ADAPTER):
        settings = Settings(max_new_token=2, temperature=0.0, seed=7)
        reply = Reply.join(backend.ask(TALK, settings, adapter=adapter).chunks)
        assert (reply.text, reply.finish_reason) == ("네네", "length")
    assert [request.adapter for request in asked] == ["반말", "존댓말", None]
    assert {(r.params.temperature, r.params.seed, r.params.max_tokens) for r in asked} == {
        (0, 7, 2)
    }


def test_leaving_frees_the_place_on_the_server(serve: Serve) -> None:
    live = serve(endless("네 "))
    chunks = _open(live).ask(TALK, Settings(), adapter=None).chunks
    while not next(chunks).text:
        pass
    chunks.close()
    assert live.idle()


@pytest.mark.parametrize("key", ["열쇠", "lk-abc"])
def test_a_key_is_sent_and_a_wrong_one_is_told(serve: Serve, key: str) -> None:
    live = serve(saying("네."), api_key=(key,))
    assert _open(live, key=key).model.name == "echo"
    for wrong in ("", "다른 것"):
        with pytest.raises(OptionError, match="--api_key"):
            _open(live, key=wrong)


def test_the_servers_own_variable_gives_the_key() -> None:
    options = TerminalOptions(url="http://x", api_key="동아리:lk-1,lk-2")
    assert options.key == "lk-1"
    assert "lk-1" not in repr(options)


@pytest.mark.parametrize("url", ["", "집", "ftp://a", "http://", "http://a:b"])
def test_a_wrong_address_is_told(url: str) -> None:
    with pytest.raises(OptionError, match="--url"):
        open_remote(url)


def test_where_no_server_is_it_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OptionError, match="lightkorllm serve"):
            open_remote(f"http://127.0.0.1:{taken.getsockname()[1]}")


def test_a_server_and_a_model_of_our_own_are_not_both_asked_for() -> None:
    with pytest.raises(OptionError, match="--url"):
        TerminalOptions(url="http://x", quantized_model_dir="echo")


def test_what_the_server_refuses_is_told_in_its_words(serve: Serve) -> None:
    backend = _open(serve(engine=EchoEngine(context_length=60)))
    with pytest.raises(LightKorError, match="질문이 너무 깁니다"):
        Reply.join(backend.ask(Conversation.ask("가" * 99), Settings(), adapter=None).chunks)
    backend = _open(serve(saying("네", EngineFailed("엔진이 멈췄습니다."))))
    with pytest.raises(EngineFailed, match="엔진이 멈췄습니다"):
        Reply.join(backend.ask(TALK, Settings(), adapter=None).chunks)


@contextmanager
def _other_server(*answers: bytes) -> Iterator[str]:
    """A server of somebody else: each connection gets the next answer as it is."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer_all() -> None:
            for answer in answers:
                connection, _ = door.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=answer_all)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/v1/"
        thread.join()


def _http(body: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    return f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\n\r\n{body}".encode()


MODELS = _http(json.dumps({"data": [{"id": "any", "object": "model"}]}))


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (_http("<html>", kind="text/html"), "끊었습니다"),
        (_http("<html>", "502 Bad Gateway", "text/html"), "상태 502"),
        (_http('{"error": "model is gone"}', "404 Not Found"), "model is gone"),
        (_http("data: {broken\n\n"), "알 수 없는 답"),
        (_http('data: {"choices": "x"}\n\n'), "알 수 없는 답"),
        (_http('data: {"choices": [{"delta": {"content": "네"}}]}\n\n'), "끊었습니다"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "답하지 않고"),
        (b"", "연결을 끊었습니다"),
    ],
)
def test_whatever_a_server_does_is_one_sentence(answer: bytes, word: str) -> None:
    with _other_server(MODELS, answer) as url:
        backend = open_remote(url)
        assert (backend.model.name, backend.model.context_length) == ("any", 0)
        with pytest.raises(LightKorError, match=word):
            Reply.join(backend.ask(TALK, Settings(), adapter=None).chunks)


def test_a_server_that_is_loading_is_waited_for() -> None:
    loading = _http('{"error": {"message": "모델을 올리는 중입니다."}}', "503 Service Unavailable")
    with _other_server(loading, MODELS) as url:
        assert open_remote(url).model.name == "any"


def test_what_is_no_model_server_is_told() -> None:
    for answer in (_http("[]"), _http("{}"), _http('{"data": [3]}')):
        with _other_server(answer) as url, pytest.raises(LightKorError, match="모델 목록"):
            open_remote(url)
