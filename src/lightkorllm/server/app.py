"""The application: routes put together, and every error turned into JSON."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from lightkorllm import chat
from lightkorllm.errors import (
    BodyTooLarge,
    LightKorError,
    NoSuchRoute,
    UserError,
    WrongMethod,
)
from lightkorllm.options import ServeOptions
from lightkorllm.server import entrance, faults, legacy, openai, page, reference, wire
from lightkorllm.server.guard import ClientGone, Guard
from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.visit import current

OPEN_ROUTES = frozenset({"health", *page.ENDPOINTS, *reference.ENDPOINTS})  # need no key


def create_app(holder: ModelHolder, options: ServeOptions, *, guard: Guard | None = None) -> Flask:
    """The WSGI application of a server. `guard` is shared with whoever stops the server."""
    app = Flask("lightkorllm", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = options.max_body
    app.url_map.merge_slashes = False  # `//x` is not there, rather than a redirect in HTML
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.json.sort_keys = False  # type: ignore[attr-defined]
    labels = wire.Labels(human=options.human_str, ai=options.ai_str)
    defaults = chat.default_params(options)

    entrance.install(app, holder, options, open_routes=OPEN_ROUTES)

    @app.get("/health")
    def health() -> tuple[Response, int]:
        if holder.ready:
            return jsonify(status="ok"), 200
        return jsonify(status="loading"), 503

    guard = guard or Guard()
    app.register_blueprint(legacy.blueprint(holder, guard, labels=labels, defaults=defaults))
    app.register_blueprint(page.blueprint())
    app.register_blueprint(reference.blueprint())
    app.register_blueprint(openai.blueprint(holder, guard, defaults=defaults))
    _answer_errors_in_json(app, options)
    return app


def _answer_errors_in_json(app: Flask, options: ServeOptions) -> None:
    @app.errorhandler(Exception)
    def ours_or_a_bug(error: Exception) -> _Answer:
        return _json(faults.told(error))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> _Answer:
        return _json(BodyTooLarge(options.max_body))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> _Answer:
        answer, status, headers = _json(_of_http(error.code), error.code)
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return answer, status, headers

    @app.errorhandler(ClientGone)
    def gone(error: ClientGone) -> tuple[str, int]:
        return "", 499  # nobody reads it


_Answer = tuple[Response, int, dict[str, str]]


def _json(error: LightKorError, status: int | None = None) -> _Answer:
    current().error = error.code
    return jsonify(faults.body(error)), status or faults.status(error), faults.headers(error)


def _of_http(status: int | None) -> LightKorError:
    match status:
        case 404:
            return NoSuchRoute()
        case 405:
            return WrongMethod()
        case _:
            return UserError("요청을 처리할 수 없습니다.")
