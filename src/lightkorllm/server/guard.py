"""Who may come in: API keys, and no new answers once the server is stopping."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

from flask import request

from lightkorllm.errors import EngineUnavailable, Unauthorized
from lightkorllm.generation import TokenChunk


class ClientGone(Exception):
    """The client of an answer has left; nobody is there to be told."""


class Keys:
    """The API keys of a server; without any, everybody may come in."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode("utf-8") for key in keys if key)

    def check(self, authorization: str | None) -> None:
        """Raises `Unauthorized` unless the header holds one of the keys."""
        if not self._keys:
            return
        kind, _, token = (authorization or "").partition(" ")
        given = token.strip().encode("utf-8", "replace")
        matches = [hmac.compare_digest(given, key) for key in self._keys]  # always all of them
        if kind.lower() != "bearer" or not any(matches):
            raise Unauthorized


class Guard:
    """Counts the answers being given, and winds them down when the server stops."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._active = 0
        self._draining = False
        self._cut = False

    @property
    def active(self) -> int:
        """How many answers are being given."""
        return self._active

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Around one answer. Raises `EngineUnavailable` when the server is stopping."""
        with self._changed:
            if self._draining:
                raise EngineUnavailable("서버를 끝내는 중이라 새 요청을 받지 않습니다.")
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def watch(
        self, chunks: Iterable[TokenChunk], gone: Callable[[], bool]
    ) -> Generator[TokenChunk, None, None]:
        """The same chunks, ended by `ClientGone` when the client leaves, and cut at the stop."""
        for chunk in chunks:
            if self._cut:
                raise EngineUnavailable("서버가 꺼져서 답을 끝까지 드리지 못했습니다.")
            if gone():
                raise ClientGone
            yield chunk

    def drain(self, seconds: float) -> None:
        """Let no new answer begin, give the running ones `seconds`, then tell and cut them."""
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: self._active == 0, timeout=seconds)
            self._cut = True
            self._changed.wait_for(lambda: self._active == 0, timeout=2)
        time.sleep(0.05)  # the last bytes are on their way out


def client_gone() -> Callable[[], bool]:
    """Asks the WSGI server whether the client has left; no other server than waitress knows."""
    check: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return check or (lambda: False)
