"""Errors at the door: which status and which JSON a fault becomes."""

from __future__ import annotations

import logging
from typing import Any

from lightkorllm.errors import (
    BodyTooLarge,
    EngineBusy,
    EngineUnavailable,
    LightKorError,
    LimitReached,
    NoSuchModel,
    NoSuchRoute,
    StrangerPage,
    Unauthorized,
    UserError,
    WrongMethod,
)

log = logging.getLogger(__name__)


def told(error: Exception) -> LightKorError:
    """What a client is told of an error. Bugs of ours go to the log, and only there."""
    if isinstance(error, LightKorError):
        return error
    log.error("뜻밖의 오류입니다", exc_info=error)
    return LightKorError("서버 안에서 뜻밖의 오류가 났습니다. 서버 로그를 확인해 주세요.")


def body(error: LightKorError) -> dict[str, Any]:
    """The JSON of an error, in OpenAI's envelope."""
    kind = "invalid_request_error" if isinstance(error, UserError) else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }


def status(error: LightKorError) -> int:
    """The HTTP status of an error."""
    match error:
        case BodyTooLarge():
            return 413
        case Unauthorized():
            return 401
        case LimitReached():
            return 429
        case StrangerPage():
            return 403
        case NoSuchRoute() | NoSuchModel():
            return 404
        case WrongMethod():
            return 405
        case UserError():
            return 400
        case EngineBusy():
            return 429
        case EngineUnavailable():
            return 503
        case _:
            return 500


def headers(error: LightKorError) -> dict[str, str]:
    """What goes with it: when to come back, or how to identify oneself."""
    match error:
        case EngineBusy() | EngineUnavailable() | LimitReached():
            return {"Retry-After": str(error.retry_after)}
        case Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case _:
            return {}
