"""The OpenAPI 3.1 document of all routes, made from the models that check their bodies."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import models_json_schema

from lightkorllm import __version__
from lightkorllm.generation import LIMITS
from lightkorllm.server import openai_wire, wire

_SCHEMA = "#/components/schemas/"
_OWN_NAMES = {
    "max_new_token": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "top_logprobs": "logprobs",
}  # fields that have another name inside
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: what is sent, what comes back, and an example of both."""

    path: str
    method: str
    summary: str
    answer: dict[str, Any]
    body: type[wire.Body] | None = None
    example: dict[str, Any] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    open: bool = False
    content: str = "application/json"
    parameters: tuple[dict[str, Any], ...] = ()


_ASKED = (400, 401, 403, 413, 429, 500, 503)
_ENTRY = {
    "type": "object",
    "properties": {"type": _TEXT, "str": _TEXT},
    "required": ["type", "str"],
}
_USAGE = {
    "type": "object",
    "properties": {
        name: _COUNT
        for name in ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
    },
}
_FINISH = {"type": "string", "enum": ["stop", "length"]}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required)}


def _legacy_answer(**more: Any) -> dict[str, Any]:
    entries = {"type": "array", "items": _ENTRY}
    count = {"count": _COUNT} if more else {}
    history = _object({**count, "history": entries})
    return _object(
        {"result": _TEXT, "history": history, "finish_reason": _FINISH, "usage": _USAGE, **more}
    )


_ENTRY = _object({"type": _TEXT, "str": _TEXT})
_MODEL = _object({"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT})


def _completion(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    choice = _object({"index": _COUNT, **said, "finish_reason": _FINISH})
    return _object(
        {
            "id": _TEXT,
            "object": {"const": kind},
            "created": _COUNT,
            "model": _TEXT,
            "choices": {"type": "array", "items": choice},
            "usage": {"type": "object"},
        }
    )


_HELLO = {"instruction": {"command": "친절하게 답하세요."}, "input": "안녕? 너는 누구야?"}

OPERATIONS = (
    Operation(
        "/inferweb",
        "post",
        "질문 하나에 답합니다",
        _legacy_answer(),
        wire.InferBody,
        _HELLO,
        _ASKED,
    ),
    Operation(
        "/chatweb",
        "post",
        "대화를 이어 갑니다. 기록은 클라이언트가 간직합니다",
        _legacy_answer(dropped_exchanges=_COUNT),
        wire.ChatBody,
        {
            **_HELLO,
            "input": "내가 아까 뭐라고 물었지?",
            "history": {
                "count": 1,
                "history": [
                    {"type": "### 사용자", "str": "안녕? 너는 누구야?"},
                    {"type": "### AI", "str": "저는 한국어로 답하는 AI입니다."},
                ],
            },
        },
        _ASKED,
    ),
    Operation(
        "/v1/chat/completions",
        "post",
        "OpenAI 형식으로 대화에 답합니다",
        _completion("chat.completion", {"message": {"type": "object"}}),
        openai_wire.ChatCompletionBody,
        {"messages": [{"role": "user", "content": "한국의 수도는 어디인가요?"}]},
        (*_ASKED, 404),
    ),
    Operation(
        "/v1/completions",
        "post",
        "글을 있는 그대로 이어 씁니다",
        _completion("text_completion", {"text": _TEXT}),
        openai_wire.CompletionBody,
        {"prompt": "옛날 옛적에", "max_tokens": 64},
        (*_ASKED, 404),
    ),
    Operation(
        "/v1/models",
        "get",
        "모델과 어댑터의 이름",
        _object({"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}}),
        errors=(401, 503),
    ),
    Operation(
        "/v1/models/{name}",
        "get",
        "모델이나 어댑터 하나",
        _MODEL,
        errors=(401, 404, 503),
        parameters=({"name": "name", "in": "path", "required": True, "schema": _TEXT},),
    ),
    Operation(
        "/health",
        "get",
        "준비되었으면 200, 모델을 올리는 중이면 503",
        _object({"status": {"enum": ["ok", "loading"]}}),
        open=True,
    ),
    Operation("/metrics", "get", "Prometheus 지표", _TEXT, errors=(401,), content="text/plain"),
)

_REASONS = {
    400: "요청의 어느 항목이 잘못되었거나 할 수 없는 것입니다",
    401: "키가 필요합니다",
    403: "다른 사이트의 웹 페이지가 보낸 요청입니다",
    404: "그런 이름은 없습니다",
    413: "본문이 너무 큽니다",
    429: "요청이 너무 많습니다. Retry-After 뒤에 다시 하세요",
    500: "엔진이 답을 끝내지 못했습니다",
    503: "모델을 올리는 중이거나 서버를 끝내는 중입니다. Retry-After 뒤에 다시 하세요",
}


def document() -> dict[str, Any]:
    """The whole document, as JSON values."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LightKorLLM",
            "version": __version__,
            "description": "한국어 LLM의 HTTP API",
        },
        "paths": paths,
        "components": {
            "schemas": {**_bodies(), "Error": _error()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {operation.content: {"schema": operation.answer}}
    if operation.body is not None:
        content["text/event-stream"] = {"schema": _object({"data": _TEXT})}  # of each event
    answers = {"200": {"description": operation.summary, "content": content}}
    for status in sorted(operation.errors):
        answers[str(status)] = _failure(_REASONS[status])
    if operation.path == "/health":
        answers["503"] = {"description": _REASONS[503], "content": content}
    described: dict[str, Any] = {
        "operationId": f"{operation.method}{operation.path.replace('/', '_')}".replace(
            "{name}", "one"
        ),
        "summary": operation.summary,
        "responses": answers,
        "security": [] if operation.open else [{"bearer": []}, {}],
    }
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = {"$ref": _SCHEMA + operation.body.__name__}
        body = {"application/json": {"schema": schema, "example": operation.example}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _failure(reason: str) -> dict[str, Any]:
    schema = {"$ref": _SCHEMA + "Error"}
    return {"description": reason, "content": {"application/json": {"schema": schema}}}


def _error() -> dict[str, Any]:
    text_or_none = {"type": ["string", "null"]}
    return _object(
        {"error": _object({"message": _TEXT, "type": _TEXT, "param": text_or_none, "code": _TEXT})}
    )


def _bodies() -> dict[str, Any]:
    models = [(each.body, "validation") for each in OPERATIONS if each.body is not None]
    _, schema = models_json_schema(models, by_alias=True, ref_template=_SCHEMA + "{model}")  # type: ignore[arg-type]
    bodies: dict[str, Any] = schema["$defs"]
    for model in bodies.values():
        for name, described in model.get("properties", {}).items():
            described.pop("title", None)
            _limit(name, described)
    return bodies


def _limit(name: str, described: dict[str, Any]) -> None:
    """Write the limits that `SamplingParams` holds to into a field's number."""
    if name == "n":
        limits: tuple[float, float] | None = (1, openai_wire.MOST_CHOICES)
    elif name == "seed" or name == "logprobs":
        return  # what these may be depends on the route
    else:
        limits = LIMITS.get(_OWN_NAMES.get(name, name))
    if limits is None:
        return
    for kind in described.get("anyOf", [described]):
        if kind.get("type") in ("integer", "number"):
            kind["minimum"] = limits[0]
            if limits[1] != math.inf:
                kind["maximum"] = limits[1]
