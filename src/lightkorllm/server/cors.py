"""Which web pages of other addresses may call us from a browser: none, unless told."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Request, Response

from lightkorllm.errors import OptionError, StrangerPage

ANY = "*"
EXPOSED = "X-Request-Id, Retry-After"
METHODS = "GET, POST, OPTIONS"
REMEMBERED = "600"  # seconds that a browser need not ask again


class Cors:
    """Answers browsers for the pages of `origins`; we have no cookies, so none are allowed.

    An origin is such as `https://example.com:8080`, `null` (a page opened from a file), or `*`.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(_origin(text) for text in origins)

    def preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks first; None for every other request."""
        asks = "Access-Control-Request-Method" in request.headers
        if request.method != "OPTIONS" or not asks or not self._allowed(request):
            return None
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Max-Age"] = REMEMBERED
        wanted = request.headers.get("Access-Control-Request-Headers")
        if wanted:
            response.headers["Access-Control-Allow-Headers"] = wanted
            response.vary.add("Access-Control-Request-Headers")
        return response

    def refuse_strangers(self, request: Request) -> None:
        """Raises `StrangerPage` where a browser says that a page of another site is asking.

        CORS only keeps such a page from reading; a server without keys would still do the work.
        Programs that are no browsers don't send `Sec-Fetch-Site`, and are not meant.
        """
        site = request.headers.get("Sec-Fetch-Site", "none")
        strange = request.method == "POST" and site not in ("none", "same-origin")
        if strange and not self._allowed(request):
            raise StrangerPage(request.headers.get("Origin", "?")[:80])

    def allow(self, request: Request, response: Response) -> None:
        """Tell the browser that its page may read this answer, where it may."""
        if not self._origins:
            return
        response.vary.add("Origin")
        origin = self._allowed(request)
        if origin:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED

    def _allowed(self, request: Request) -> str | None:
        """What to allow for the page that asks: its origin, `*`, or None."""
        origin = request.headers.get("Origin")
        if origin is None:
            return None
        if ANY in self._origins:
            return ANY
        return origin if origin in self._origins else None


def _origin(text: str) -> str:
    origin = text.strip().rstrip("/").lower()  # browsers send it in lower case
    parts = urlsplit(origin)
    if origin in (ANY, "null") or (parts.netloc and origin == f"{parts.scheme}://{parts.netloc}"):
        return origin
    raise OptionError(
        "--cors_origins", f"`https://example.com` 같은 꼴이어야 합니다 (받은 값: {text!r})"
    )
