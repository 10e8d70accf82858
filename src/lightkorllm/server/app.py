"""The application: routes put together, and every error turned into JSON."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from lightkorllm import chat
from lightkorllm.errors import (
    BodyTooLarge,
    EngineBusy,
    EngineUnavailable,
    LightKorError,
    Unauthorized,
    UserError,
)
from lightkorllm.options import ServeOptions
from lightkorllm.server import legacy, wire
from lightkorllm.server.guard import ClientGone, Guard, Keys
from lightkorllm.server.loading import ModelHolder

log = logging.getLogger(__name__)

OPEN_ROUTES = frozenset({"health"})  # endpoints that need no key


def create_app(holder: ModelHolder, options: ServeOptions, *, guard: Guard | None = None) -> Flask:
    """The WSGI application of a server. `guard` is shared with whoever stops the server."""
    app = Flask("lightkorllm", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = options.max_body
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    labels = wire.Labels(human=options.human_str, ai=options.ai_str)
    defaults = chat.default_params(options)
    keys = Keys(options.api_key)

    @app.before_request
    def check_key() -> None:
        if request.method != "OPTIONS" and request.endpoint not in OPEN_ROUTES:
            keys.check(request.headers.get("Authorization"))

    @app.get("/health")
    def health() -> tuple[Response, int]:
        if holder.ready:
            return jsonify(status="ok"), 200
        return jsonify(status="loading"), 503

    app.register_blueprint(
        legacy.blueprint(holder, guard or Guard(), labels=labels, defaults=defaults)
    )
    _answer_errors_in_json(app, options)
    return app


def _answer_errors_in_json(app: Flask, options: ServeOptions) -> None:
    @app.errorhandler(LightKorError)
    def ours(error: LightKorError) -> tuple[Response, int]:
        return _json(error)

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[Response, int]:
        return _json(BodyTooLarge(options.max_body))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response, int]:
        return http_error(error.code or 500)

    @app.errorhandler(ClientGone)
    def gone(error: ClientGone) -> tuple[str, int]:
        return "", 499  # nobody reads it

    @app.errorhandler(Exception)
    def last_guard(error: Exception) -> tuple[Response, int]:
        log.error("뜻밖의 오류입니다", exc_info=error)
        return _json(
            LightKorError("서버 안에서 뜻밖의 오류가 났습니다. 서버 로그를 확인해 주세요.")
        )


def _json(error: LightKorError) -> tuple[Response, int]:
    answer = jsonify(wire.error_body(error))
    if isinstance(error, EngineBusy | EngineUnavailable):
        answer.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Unauthorized):
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer, status_of(error)


def status_of(error: LightKorError) -> int:
    """The HTTP status of an error."""
    match error:
        case BodyTooLarge():
            return 413
        case Unauthorized():
            return 401
        case UserError():
            return 400
        case EngineBusy():
            return 429
        case EngineUnavailable():
            return 503
        case _:
            return 500


_HTTP_MESSAGES = {
    404: "그런 주소는 없습니다. POST /inferweb, POST /chatweb, GET /health 를 쓸 수 있습니다.",
    405: "이 주소는 다른 메서드로 불러야 합니다. /inferweb 과 /chatweb 은 POST입니다.",
}


def http_error(status: int) -> tuple[Response, int]:
    """An error of HTTP itself, in the same envelope."""
    error = UserError(_HTTP_MESSAGES.get(status, "요청을 처리할 수 없습니다."))
    body = wire.error_body(error)
    body["error"]["code"] = {404: "not_found", 405: "method_not_allowed"}.get(status, error.code)
    return jsonify(body), status
