"""One log line for each request, when its answer ends: never its text, unless asked to."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from lightkorllm.server.visit import Visit

log = logging.getLogger(__name__)

_WORD = re.compile(r"[\w.-]+")
_QUIET = frozenset({"/health", "/metrics"})  # asked every few seconds by machines


def write(visit: Visit) -> None:
    """Log a visit that has ended; as JSON it is the record's `fields`."""
    level = logging.DEBUG if visit.route in _QUIET and visit.status < 400 else logging.INFO
    if log.isEnabledFor(level):
        fields = _fields(visit)
        log.log(level, "%s", _plain(fields), extra={"fields": fields})


def _fields(visit: Visit) -> dict[str, Any]:
    answer = visit.answer
    fields: dict[str, Any] = {
        "method": visit.method,
        "route": visit.route or None,
        "path": None if visit.route else visit.path[:200],
        "status": visit.status,
        "seconds": round(visit.seconds, 3),
        "request_id": visit.id,
        "key": visit.key or None,
        "prompt_tokens": answer.prompt_tokens or None,
        "cached_tokens": answer.cached_tokens or None,
        "completion_tokens": answer.completion_tokens or None,
        "first_token_seconds": _rounded(visit.first_token_seconds),
        "seconds_per_token": _rounded(visit.seconds_per_token),
        "cancelled": answer.cancelled or None,
        "error": answer.error or visit.error or None,
    }
    if answer.texts:
        fields |= {"asked": visit.asked, "answered": "".join(answer.texts)}
    return {name: value for name, value in fields.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _plain(fields: dict[str, Any]) -> str:
    rest = dict(fields)
    where = rest.pop("route", None) or _quoted(rest.pop("path"))
    head = f"{_quoted(rest.pop('method'))} {where} {rest.pop('status')} {rest.pop('seconds')}s"
    return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in rest.items())])


def _quoted(value: Any) -> str:
    """A word as it is; everything else as JSON, so that a line stays one line."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
