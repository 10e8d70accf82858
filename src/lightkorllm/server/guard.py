"""Answers being given: counted, ended when their client leaves, and none begun at the stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager

from flask import request

from lightkorllm.errors import EngineUnavailable
from lightkorllm.generation import TokenChunk
from lightkorllm.server import visit
from lightkorllm.server.visit import Answer


class ClientGone(Exception):
    """The client of an answer has left; nobody is there to be told."""


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
        """The same chunks, ended by `ClientGone` when the client leaves, and cut at the stop.

        They are counted on the way, for the numbers of the visit that this thread answers now.
        """
        return self._watch(chunks, gone, answer=visit.current().answer)

    def _watch(
        self, chunks: Iterable[TokenChunk], gone: Callable[[], bool], *, answer: Answer
    ) -> Generator[TokenChunk, None, None]:
        with answer:
            for chunk in chunks:
                if self._cut:
                    raise EngineUnavailable("서버가 꺼져서 답을 끝까지 드리지 못했습니다.")
                if gone():
                    answer.cancel()
                    raise ClientGone
                answer.see(chunk)
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
