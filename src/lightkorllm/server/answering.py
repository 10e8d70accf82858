"""How every route gives an answer: guarded, counted, whole or as a stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from itertools import chain
from typing import Any

from flask import Response, jsonify

from lightkorllm.generation import TokenChunk
from lightkorllm.server import sse
from lightkorllm.server.guard import Guard, client_gone


def answer(
    chunks: Generator[TokenChunk, None, None],
    guard: Guard,
    *,
    stream: bool,
    events: Callable[[Iterator[TokenChunk]], Iterator[str | None]],
    whole: Callable[[Iterator[TokenChunk]], Any],
) -> Response:
    """The response that `chunks` become: the JSON of `whole`, or the `events` as they come.

    `chunks` are closed when the answer ends, fails, or its client leaves. What is refused before
    the first chunk is raised, so that it gets a status; later faults are told as the last event.
    """
    with ExitStack() as stack:
        stack.enter_context(guard.answering())
        watched = guard.watch(stack.enter_context(closing(chunks)), client_gone())
        if not stream:
            return jsonify(whole(watched))
        first = next(watched)
        return sse.response(events(chain([first], watched)), close=stack.pop_all().close)
