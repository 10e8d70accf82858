"""The wire client for servers that speak OpenAI's completions, such as llama.cpp's."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightkorllm.engines.exchange import Call, Head, Origin, exchange, fetch_json
from lightkorllm.errors import BadRequest, ContextOverflow, EngineFailed, EngineUnavailable
from lightkorllm.generation import WAITING, GenerationRequest, TokenChunk, TokenLogprob

MAX_EVENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of server deviates from OpenAI: names it uses and extras it wants.

    `extras` ask for token counts in each chunk, since a chunk is not a token and an answer
    may be left before its last chunk.
    """

    repetition_penalty: str
    extras: Mapping[str, Any] = field(default_factory=dict)
    usage_in_stream: Mapping[str, Any] = field(default_factory=dict)


LLAMA_SERVER = Dialect(
    repetition_penalty="repeat_penalty",
    extras={"cache_prompt": True, "return_progress": True, "timings_per_token": True},
    usage_in_stream={"include_usage": True},
)


class Upstream:
    """One server, asked over HTTP. Holds no connection between calls and no state."""

    def __init__(self, origin: Origin, *, dialect: Dialect, key: str = "") -> None:
        self.origin = origin
        self._dialect = dialect
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def healthy(self, *, patience: float = 5.0) -> bool:
        """Whether the server says that it can work."""
        try:
            return self._fetch("/health", patience=patience)[0] == 200
        except (EngineFailed, EngineUnavailable):
            return False

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises `EngineFailed` for anything but 200."""
        status, body = self._fetch(path)
        if status != 200:
            raise _error(status, body)
        return body

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as the server would read it as a prompt, its BOS included."""
        body = {"content": text, "prompt": text, "add_special": True, "parse_special": True}
        status, answer = self._fetch("/tokenize", body)
        if status != 200 or not isinstance(answer.get("tokens"), list):
            raise _error(status, answer)
        return len(answer["tokens"])

    def complete(
        self, request: GenerationRequest, extra: Mapping[str, Any]
    ) -> Generator[TokenChunk, None, None]:
        """Stream the continuation of a prompt. `extra` goes into the body as it is."""
        body = {**self._body(request), **extra}
        parts = exchange(self.origin, Call("/v1/completions", body, self._headers))
        try:
            yield from _chunks(parts)
        finally:
            parts.close()

    def _fetch(
        self, path: str, body: Mapping[str, Any] | None = None, *, patience: float = 30.0
    ) -> tuple[int, Any]:
        return fetch_json(self.origin, Call(path, body, self._headers), patience=patience)

    def _body(self, request: GenerationRequest) -> dict[str, Any]:
        params = request.params
        body: dict[str, Any] = {
            "prompt": request.prompt,
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "top_k": params.top_k,
            "min_p": params.min_p,
            self._dialect.repetition_penalty: params.repetition_penalty,
            "presence_penalty": params.presence_penalty,
            "frequency_penalty": params.frequency_penalty,
            "stream": True,
            "stream_options": dict(self._dialect.usage_in_stream),
            **self._dialect.extras,
        }
        if params.logprobs is not None:
            body["logprobs"] = max(1, params.logprobs)  # 0 would switch them off
        if params.logit_bias:
            body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias}
        if params.seed is not None:
            body["seed"] = params.seed
        return body


def _chunks(parts: Iterator[Head | bytes | None]) -> Generator[TokenChunk, None, None]:
    head = yield from _until_head(parts)
    if head.status != 200:
        raise _error(
            head.status, _json_or_none(b"".join(part for part in parts if isinstance(part, bytes)))
        )
    last, finish = WAITING, None
    for data in _events(parts):
        if data is None:
            yield WAITING
            continue
        last = _chunk(data, before=last)
        finish = last.finish_reason or finish
        if last.text or not finish:
            yield replace(last, finish_reason=None)
            last = replace(last, text="", logprobs=())
    if finish is None:
        raise EngineFailed("엔진이 답을 끝내지 못하고 멈췄습니다. 다시 시도해 주세요.")
    yield replace(last, text="", finish_reason=finish)  # usage may come after the finish


def _events(parts: Iterator[Head | bytes | None]) -> Iterator[str | None]:
    """The events up to `[DONE]`, with `None` for each silent heartbeat."""
    lines = EventLines()
    for part in parts:
        if not isinstance(part, bytes):
            yield None
            continue
        for data in lines.feed(part):
            if data == "[DONE]":
                return
            yield data


def _until_head(
    parts: Iterator[Head | bytes | None],
) -> Generator[TokenChunk, None, Head]:
    for part in parts:
        if isinstance(part, Head):
            return part
        yield WAITING
    raise EngineFailed("엔진이 아무 답도 하지 않고 연결을 끊었습니다.")


class EventLines:
    """Bytes of a server-sent event stream → the `data:` of each event, however they are cut up."""

    def __init__(self) -> None:
        self._pending = b""
        self._data: list[str] = []

    def feed(self, part: bytes) -> list[str]:
        *lines, self._pending = (self._pending + part).split(b"\n")
        if len(self._pending) > MAX_EVENT_BYTES:
            raise EngineFailed("엔진이 너무 긴 줄을 보냈습니다.")
        return [event for line in lines for event in self._line(line.rstrip(b"\r"))]

    def _line(self, line: bytes) -> list[str]:
        name, _, value = line.partition(b":")
        if line and name in (b"data", b"error"):
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        if line or not self._data:
            return []
        event, self._data = "\n".join(self._data), []
        return [event]


def _chunk(data: str, *, before: TokenChunk) -> TokenChunk:
    """One event as a chunk; counts that the event doesn't give stay as they were before it."""
    try:
        event = json.loads(data)
        if "error" in event:
            raise _broken_off(event["error"])
        return replace(before, **_choice(event), **_counts(event))
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise EngineFailed("엔진이 알 수 없는 답을 보냈습니다.") from None


def _choice(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices")
    if not choices:
        return {"text": "", "finish_reason": None, "logprobs": ()}
    finish = choices[0].get("finish_reason")
    reason = None if finish is None else ("length" if finish == "length" else "stop")
    text = str(choices[0].get("text") or "")
    return {"text": text, "finish_reason": reason, "logprobs": _logprobs(choices[0], text)}


def _logprobs(choice: dict[str, Any], text: str) -> tuple[TokenLogprob, ...]:
    """The tokens of a chunk. One that ends a character also stands for the bytes held before."""
    found = [
        TokenLogprob(
            bytes(entry["bytes"]),
            float(entry["logprob"]),
            tuple((bytes(top["bytes"]), float(top["logprob"])) for top in entry["top_logprobs"]),
        )
        for entry in (choice.get("logprobs") or {}).get("content") or ()
    ]
    missing = text.encode("utf-8").removesuffix(b"".join(each.token for each in found))
    if found and missing:
        found[0] = replace(found[0], token=missing + found[0].token)
    return tuple(found)


def _counts(event: dict[str, Any]) -> dict[str, Any]:
    """Token counts from whichever place the server puts them in."""
    if usage := event.get("usage"):
        counts = {
            "prompt_tokens": int(usage["prompt_tokens"]),
            "completion_tokens": int(usage.get("completion_tokens") or 0),
        }
        details = usage.get("prompt_tokens_details") or {}
        if "cached_tokens" in details:
            counts["cached_tokens"] = int(details["cached_tokens"] or 0)
        return counts
    if timings := event.get("timings"):
        return {
            "prompt_tokens": int(timings["cache_n"]) + int(timings["prompt_n"]),
            "completion_tokens": int(timings["predicted_n"]),
            "cached_tokens": int(timings["cache_n"]),
        }
    if progress := event.get("prompt_progress"):
        return {"prompt_tokens": int(progress["total"])}
    return {}


def _json_or_none(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error(status: int, body: Any) -> Exception:
    """A refused request as our error: what the client did wrong, or what the server can't do."""
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    if status == 503:
        return EngineUnavailable("엔진이 아직 준비되지 않았습니다. 잠시 뒤 다시 시도해 주세요.")
    if status == 400 and error.get("type") != "exceed_context_size_error":
        return BadRequest("", f"엔진이 요청을 거절했습니다: {error.get('message', '이유 없음')}")
    return _broken_off(error, status=status)


def _broken_off(error: Any, *, status: int = 200) -> Exception:
    """An error inside an answer, or one that is not the client's fault."""
    if isinstance(error, dict) and error.get("type") == "exceed_context_size_error":
        return ContextOverflow(int(error["n_prompt_tokens"]) + 1, int(error["n_ctx"]))
    reason = error.get("message", "") if isinstance(error, dict) else error
    return EngineFailed(f"엔진이 오류로 답했습니다 (상태 {status}): {reason}")
