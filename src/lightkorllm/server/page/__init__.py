"""`GET /`: the chat page. A fixed handful of files, read once, that load nothing from outside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flask import Blueprint, Response, request

FILES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "markdown.js": "text/javascript; charset=utf-8",
    "sse.js": "text/javascript; charset=utf-8",
    "store.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked again each time, answered by 304
}


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    kind: str
    tag: str


def blueprint() -> Blueprint:
    """The page's routes; each file has its own, so that no name of a client reaches a path."""
    routes = Blueprint("page", __name__)
    for name, kind in FILES.items():
        file = _read(name, kind)
        rule = "/" if name == "index.html" else f"/page/{name}"
        routes.add_url_rule(rule, _endpoint(name), _view(file), methods=["GET"])
    return routes


def _endpoint(name: str) -> str:
    return name.replace(".", "_")


ENDPOINTS = frozenset(f"page.{_endpoint(name)}" for name in FILES)  # none of them needs a key


def _read(name: str, kind: str) -> _File:
    data = (Path(__file__).parent / name).read_bytes()
    return _File(data, kind, hashlib.sha256(data).hexdigest()[:32])


def _view(file: _File) -> Callable[[], Response]:
    def view() -> Response:
        answer = Response(file.data, content_type=file.kind, headers=HEADERS)
        answer.set_etag(file.tag)
        answer.make_conditional(request)
        return answer

    return view
