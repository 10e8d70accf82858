"""Server-sent events: an answer that is sent while it is made."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

from lightkorllm.server import faults
from lightkorllm.server.guard import ClientGone

log = logging.getLogger(__name__)

PING_EVERY = 1.0  # seconds of silence between two comments
_COMMENT = ": ...\n\n"

DONE = "data: [DONE]\n\n"

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would collect the whole answer
}


def event(data: Any) -> str:
    """One event with `data` as JSON; Hangul stays Hangul."""
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def response(events: Iterator[str | None], *, close: Callable[[], None]) -> Response:
    """A streaming answer of `events`; None means "still waiting" and becomes a comment.

    `close` is called when the answer ends or its client leaves, even if it never began.
    """
    answer = Response(_with_comments(events), mimetype="text/event-stream", headers=HEADERS)
    answer.headers["Content-Type"] = "text/event-stream; charset=utf-8"
    answer.call_on_close(close)
    return answer


def _with_comments(events: Iterator[str | None]) -> Iterator[str]:
    yield _COMMENT  # sends the headers at once
    last = time.monotonic()
    for item in _with_error(events):
        if item is not None:
            last = time.monotonic()
            yield item
        elif time.monotonic() - last >= PING_EVERY:
            last = time.monotonic()
            yield _COMMENT


def _with_error(events: Iterator[str | None]) -> Iterator[str | None]:
    """The status has left already, so a fault is told as the last event."""
    try:
        yield from events
    except ClientGone:
        return
    except Exception as error:  # the last guard: a stream must not just end
        fault = faults.told(error)
        log.warning("답이 중간에 끊겼습니다: %s", fault.message)
        yield event(faults.body(fault))
