"""A running server answers, over OpenAI's `/v1/models` and `/v1/chat/completions`.

Context length and adapters are read from the fields that vLLM adds to a model: `max_model_len`
and `parent`. https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightkorllm.conversation import Conversation
from lightkorllm.engines.exchange import Call, Head, Origin, exchange, fetch_json
from lightkorllm.engines.upstream import EventLines
from lightkorllm.errors import (
    BadRequest,
    EngineFailed,
    EngineUnavailable,
    LightKorError,
    OptionError,
)
from lightkorllm.generation import NO_ADAPTER, WAITING, FinishReason, TokenChunk
from lightkorllm.terminal.backend import Asked, Model
from lightkorllm.terminal.settings import Settings

LOADING_SECONDS = 600.0  # longest wait for a server that is loading its model


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how it is spoken to. Holds no connection between calls."""

    origin: Origin
    headers: Mapping[str, Any]

    @classmethod
    def at(cls, url: str, *, key: str = "") -> Server:
        """Raises `OptionError` where `url` is none."""
        try:
            origin = Origin.from_url(url.strip().rstrip("/").removesuffix("/v1"))
        except BadRequest as error:
            raise OptionError("--url", error.problem) from None
        # the server compares bytes, and a key may well be Korean
        return cls(origin, {"Authorization": f"Bearer {key}".encode()} if key else {})

    def models(self) -> list[dict[str, Any]]:
        """What the server lists, waiting while it is loading."""
        until = time.monotonic() + LOADING_SECONDS
        while True:
            status, body = fetch_json(self.origin, Call("/v1/models", None, self.headers))
            if status != 503 or time.monotonic() > until:
                break
            time.sleep(0.5)
        if status != 200:
            raise _refused(status, body)
        entries = body.get("data") if isinstance(body, dict) else None
        found = [entry for entry in entries or () if isinstance(entry, dict) and entry.get("id")]
        if not found:
            raise EngineFailed(f"{self.origin} 서버가 모델 목록을 주지 않습니다.")
        return found

    def complete(self, body: Mapping[str, Any]) -> Generator[TokenChunk, None, None]:
        """Stream an answer. Closing the generator closes the connection."""
        parts = exchange(self.origin, Call("/v1/chat/completions", body, self.headers))
        try:
            yield from _chunks(parts)
        finally:
            parts.close()


class RemoteBackend:
    """Answers through a server."""

    def __init__(self, server: Server, entries: list[dict[str, Any]]) -> None:
        self._server = server
        self._first = str(entries[0]["id"])
        self._base = str(next((e["id"] for e in entries if not e.get("parent")), self._first))
        adapters = tuple(str(e["id"]) for e in entries if e.get("parent") == self._base)
        length = entries[0].get("max_model_len")
        self._model = Model(
            self._base,
            length if isinstance(length, int) else 0,
            adapters,
            self._first if self._first in adapters else None,
        )

    @property
    def model(self) -> Model:
        return self._model

    def ask(self, conversation: Conversation, settings: Settings, *, adapter: str | None) -> Asked:
        said = settings.said()
        if "max_new_token" in said:
            said["max_tokens"] = said.pop("max_new_token")
        body = {
            "model": self._name(adapter),
            "messages": _messages(conversation),
            "stream": True,
            "stream_options": {"include_usage": True},
            **said,
        }
        return Asked(self._server.complete(body))

    def close(self) -> None:
        """Nothing is held."""

    def _name(self, adapter: str | None) -> str:
        return {None: self._first, NO_ADAPTER: self._base}.get(adapter, adapter or self._first)


def open_remote(url: str, *, key: str = "") -> RemoteBackend:
    """The server at `url`, asked what it has. Raises a `LightKorError` that says what to do."""
    server = Server.at(url, key=key)
    try:
        return RemoteBackend(server, server.models())
    except EngineUnavailable:
        raise OptionError(
            "--url",
            f"{server.origin} 서버에 연결할 수 없습니다. 주소를 확인하고, 그 컴퓨터에서 "
            "`lightkorllm serve`가 켜져 있는지 보세요",
        ) from None


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    system = [{"role": "system", "content": conversation.system}] if conversation.system else []
    return system + [{"role": turn.role, "content": turn.text} for turn in conversation.turns]


def _chunks(parts: Iterator[Head | bytes | None]) -> Iterator[TokenChunk]:
    status, whole, lines = 200, b"", EventLines()
    spoken, finish, prompt_tokens = 0, None, 0
    for part in parts:
        if isinstance(part, Head):
            status = part.status
        elif part is None:
            yield WAITING
        elif status != 200:
            whole += part
        else:
            for data in lines.feed(part):
                event = _event(data)
                text, finish = _said(event, finish)
                spoken += bool(text)
                usage = event.get("usage") or {}
                prompt_tokens = int(usage.get("prompt_tokens") or prompt_tokens)
                spoken = int(usage.get("completion_tokens") or spoken)
                yield TokenChunk(text, completion_tokens=spoken, prompt_tokens=prompt_tokens)
    if status != 200:
        raise _refused(status, _json(whole))
    if finish is None:
        raise EngineFailed("서버가 답을 끝내지 않고 연결을 끊었습니다. `/다시`로 물어보세요.")
    reason: FinishReason = "length" if finish == "length" else "stop"
    yield TokenChunk(
        "", completion_tokens=spoken, prompt_tokens=prompt_tokens, finish_reason=reason
    )


def _event(data: str) -> dict[str, Any]:
    """One event's object, empty for `[DONE]`. Raises what the server says went wrong."""
    if data.strip() == "[DONE]":
        return {}
    event = _json(data)
    if not isinstance(event, dict):
        raise EngineFailed("서버가 알 수 없는 답을 보냈습니다.")
    if event.get("error"):
        raise _refused(200, event)
    return event


def _said(event: Mapping[str, Any], finish: str | None) -> tuple[str, str | None]:
    """An event's text, and why the answer ended if it has."""
    choices = event.get("choices") or [{}]
    try:
        text = str((choices[0].get("delta") or {}).get("content") or "")
        return text, choices[0].get("finish_reason") or finish
    except (AttributeError, TypeError, KeyError):
        raise EngineFailed("서버가 알 수 없는 답을 보냈습니다.") from None


def _refused(status: int, body: Any) -> LightKorError:
    """What a server said instead of an answer. Our own servers say it in Korean."""
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    if status == 401:
        return OptionError("--api_key", "서버가 이 키를 받지 않습니다. 맞는 키를 주세요")
    if isinstance(message, str) and message:
        return EngineFailed(message)
    return EngineFailed(f"서버가 답 대신 상태 {status}를 보냈습니다. --url의 주소를 확인해 주세요.")


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
