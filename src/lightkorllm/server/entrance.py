"""The way in and out of every request: id, key, limits, CORS, and at the end numbers and a line."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Collection

from flask import Flask, Request, Response, g, request

from lightkorllm.errors import OptionError
from lightkorllm.options import ServeOptions
from lightkorllm.server import request_log
from lightkorllm.server.cors import Cors
from lightkorllm.server.keys import Keys
from lightkorllm.server.limits import Limits
from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.metrics import CONTENT_TYPE, Metrics
from lightkorllm.server.visit import Visit, current


def check(options: ServeOptions) -> None:
    """Refuse what can't be begun, and to open the server to strangers by accident."""
    keys = Keys.of(options)
    Limits(options.rate_limit)
    Cors(options.cors_origins)
    if keys or options.allow_anyone:
        return
    if options.tunnel_kind:
        flag = "--ngrock" if options.ngrock else "--tunnel"
        raise OptionError(flag, f"터널을 열면 인터넷의 {_REFUSAL}")
    if not is_loopback(options.host):
        raise OptionError("--host", f"{options.host}(으)로 열면 같은 네트워크의 {_REFUSAL}")


_REFUSAL = (
    "누구나 쓸 수 있습니다. --api_key 로 키를 정해 주세요. "
    "정말 누구에게나 열려면 --allow_anyone 을 붙이세요"
)


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _readable(request: Request) -> str:
    """A body with its Hangul unescaped; as it came where it nests too deep to write anew."""
    try:
        return json.dumps(request.get_json(force=True), ensure_ascii=False)
    except RecursionError:
        return request.get_data(as_text=True)


def install(
    app: Flask, holder: ModelHolder, options: ServeOptions, *, open_routes: Collection[str]
) -> None:
    """Put the entrance before every route of `app`; endpoints in `open_routes` need no key.

    Requests to answer something (POST) count for the limits; those that only look do not.
    """
    keys, cors, metrics = Keys.of(options), Cors(options.cors_origins), Metrics(holder)
    limits = Limits(options.rate_limit, concurrent=options.max_concurrent)

    @app.before_request
    def come_in() -> Response | None:
        g.visit = visit = Visit.new(request.headers.get("X-Request-Id"), with_text=options.log_text)
        if request.method == "OPTIONS":
            return cors.preflight(request)
        cors.refuse_strangers(request)
        if request.endpoint in open_routes:
            return None
        visit.key = keys.check(request.headers.get("Authorization"))
        if request.method == "POST":
            caller = visit.key or request.remote_addr or ""
            limits.enter(caller)
            visit.inside = caller
        return None

    @app.after_request
    def go_out(response: Response) -> Response:
        visit = current()
        visit.method, visit.path, visit.status = request.method, request.path, response.status_code
        visit.route = request.url_rule.rule if request.url_rule else ""
        if visit.answer.texts:  # so the body has been read
            visit.asked = _readable(request)
        response.headers["X-Request-Id"] = visit.id
        cors.allow(request, response)
        response.call_on_close(lambda: end(visit))
        return response

    def end(visit: Visit) -> None:
        visit.seconds = time.monotonic() - visit.started
        if visit.inside is not None:
            limits.leave(visit.inside)
        metrics.count(visit)
        request_log.write(visit)

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(metrics.page(), content_type=CONTENT_TYPE)
