"""Answers in OpenAI's wire format: whole, and in chunks."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from lightkorllm.generation import Reply, TokenChunk, TokenLogprob, Usage


def _logprobs(tokens: Sequence[TokenLogprob], *, chat: bool) -> dict[str, Any] | None:
    """OpenAI's two shapes: `content` entries for chat, parallel lists for completions."""
    if not tokens:
        return None
    if chat:
        return {"content": [_entry(token) for token in tokens], "refusal": None}
    texts = [_shown(token.token) for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{_shown(rival): value for rival, value in each.top} for each in tokens],
        "text_offset": list(accumulate(map(len, texts[:-1]), initial=0)),
    }


def _entry(token: TokenLogprob) -> dict[str, Any]:
    return {
        **_scored(token.token, token.logprob),
        "top_logprobs": [_scored(rival, value) for rival, value in token.top],
    }


def _scored(token: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _shown(token), "bytes": list(token), "logprob": logprob}


def _shown(token: bytes) -> str:
    return token.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all parts of one answer share: its id, its model and when it was made."""

    model: str
    chat: bool
    id: str
    created: int
    started: float

    @classmethod
    def new(cls, model: str, *, chat: bool) -> Envelope:
        kind = "chatcmpl" if chat else "cmpl"
        return cls(
            model, chat, f"{kind}-{secrets.token_hex(12)}", int(time.time()), time.monotonic()
        )

    def whole(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The answer at once, a choice for each reply."""
        choices = [self._choice(number, reply) for number, reply in enumerate(replies)]
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices, **self._usage(replies)}

    def opening(self, number: int) -> dict[str, Any]:
        """A choice's first chunk: who speaks."""
        return self._chunk(number, {"role": "assistant", "content": ""}, None)

    def piece(self, number: int, chunk: TokenChunk) -> dict[str, Any]:
        """A chunk of text."""
        tokens = chunk.logprobs
        if not self.chat:
            return self._text_chunk(number, chunk.text, None, tokens)
        return self._chunk(number, {"content": chunk.text}, None, tokens)

    def ending(self, number: int, reply: Reply) -> dict[str, Any]:
        """A choice's last chunk: why it ended."""
        if not self.chat:
            return self._text_chunk(number, "", reply.finish_reason)
        return self._chunk(number, {}, reply.finish_reason)

    def usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The chunk after the last one, sent only when asked for."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [], **self._usage(replies)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(self, number: int, reply: Reply) -> dict[str, Any]:
        said: dict[str, Any] = {"text": reply.text}
        if self.chat:
            said = {"message": {"role": "assistant", "content": reply.text, "refusal": None}}
        return {
            "index": number,
            **said,
            "logprobs": _logprobs(reply.logprobs, chat=self.chat),
            "finish_reason": reply.finish_reason,
        }

    def _chunk(
        self,
        number: int,
        delta: dict[str, Any],
        finish: str | None,
        tokens: Sequence[TokenLogprob] = (),
    ) -> dict[str, Any]:
        logprobs = _logprobs(tokens, chat=True)
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _text_chunk(
        self, number: int, text: str, finish: str | None, tokens: Sequence[TokenLogprob] = ()
    ) -> dict[str, Any]:
        logprobs = _logprobs(tokens, chat=False)
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head("text_completion"), "choices": [choice]}

    def _usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        prompt = max((reply.usage.prompt_tokens for reply in replies), default=0)
        cached = max((reply.usage.cached_tokens for reply in replies), default=0)
        made = sum(reply.usage.completion_tokens for reply in replies)
        total = Usage(prompt_tokens=prompt, completion_tokens=made)
        seconds = time.monotonic() - self.started
        return {
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": made,
                "total_tokens": total.total_tokens,
                "prompt_tokens_details": {"cached_tokens": cached},
            },
            "timings": {
                "total_ms": round(seconds * 1000, 1),
                "tokens_per_second": round(made / seconds, 2) if seconds > 0 else None,
            },
        }
