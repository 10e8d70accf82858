"""One request while it is answered: whose it is, and what its answer has cost so far."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from types import TracebackType

from flask import g

from lightkorllm.errors import LightKorError
from lightkorllm.generation import WAITING, TokenChunk

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(slots=True)
class Answer:
    """Counts an answer's tokens and times as they pass, also of several answers in a row.

    A context: leaving it early means that the client went away, or names the `error`.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    first_token: float = 0.0  # by the monotonic clock, as all times here
    decode_seconds: float = 0.0  # from each answer's first token to its last
    decode_tokens: int = 0  # without the first ones
    cancelled: bool = False
    error: str = ""
    texts: list[str] | None = None
    _going_on: bool = False
    _counted: TokenChunk = WAITING  # the newest chunk with counts of the answer that goes on
    _started: float = 0.0
    _newest: float = 0.0

    def see(self, chunk: TokenChunk) -> None:
        """Count a chunk; a microsecond, since it is once a token."""
        if self.texts is not None:
            self.texts.append(chunk.text)
        self._going_on = chunk.finish_reason is None
        if chunk.completion_tokens:
            self._newest = time.monotonic()
            if not self._counted.completion_tokens:
                self._started = self._newest
                self.first_token = self.first_token or self._newest
            self._counted = chunk
        if not self._going_on:
            self._add()

    def cancel(self) -> None:
        """The client has gone."""
        self.cancelled = True

    def _add(self) -> None:
        """The answer that goes on has ended, one way or the other."""
        last, self._counted = self._counted, WAITING
        self.prompt_tokens += last.prompt_tokens
        self.cached_tokens += last.cached_tokens
        self.completion_tokens += last.completion_tokens
        if last.completion_tokens > 1:
            self.decode_tokens += last.completion_tokens - 1
            self.decode_seconds += self._newest - self._started

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._add()
        if isinstance(error, LightKorError):
            self.error = error.code
        elif isinstance(error, GeneratorExit):
            self.cancelled = self.cancelled or self._going_on
        elif error is not None and not self.cancelled:
            self.error = LightKorError.code


@dataclass(slots=True)
class Visit:
    """A request from its arrival until its last byte. `key` names the key that it came with."""

    id: str
    method: str = ""
    route: str = ""  # as it is declared, such as `/v1/models/<name>`; "" where there is none
    path: str = ""
    status: int = 0
    key: str = ""
    inside: str | None = None  # whom the limits count it for
    error: str = ""
    asked: str = ""
    answer: Answer = field(default_factory=Answer)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @classmethod
    def new(cls, wanted_id: str | None, *, with_text: bool = False) -> Visit:
        """A visit that begins now; a client's well-formed request id is kept."""
        known = wanted_id is not None and _WELL_FORMED_ID.fullmatch(wanted_id)
        answer = Answer(texts=[] if with_text else None)
        return cls(wanted_id if wanted_id and known else uuid.uuid4().hex, answer=answer)

    @property
    def first_token_seconds(self) -> float | None:
        """From the arrival to the first token, waiting in line included; None without a token."""
        first = self.answer.first_token
        return first - self.started if first else None

    @property
    def seconds_per_token(self) -> float | None:
        """Mean time from one token to the next; None for fewer than two."""
        answer = self.answer
        return answer.decode_seconds / answer.decode_tokens if answer.decode_tokens else None


def current() -> Visit:
    """The visit of the request that this thread answers."""
    visit: Visit = g.visit
    return visit
