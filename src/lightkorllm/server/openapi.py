"""The OpenAPI 3.1 document of all routes, made from the models that check their bodies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic.json_schema import models_json_schema

from lightkorllm import __version__
from lightkorllm.generation import LIMITS
from lightkorllm.server import answers, openai_wire, wire
from lightkorllm.server.meanings import meaning

_OWN_NAMES = {
    "max_new_token": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "top_logprobs": "logprobs",
}  # fields that have another name inside
_FREE = {"CompletionBody.seed", "ChatCompletionBody.seed"}  # there, any integer is taken
_TITLES = {
    "InferBody": "질문 하나. 모르는 항목은 오류이고, null은 보내지 않은 것과 같습니다",
    "ChatBody": "질문과 지난 대화. 모르는 항목은 오류이고, null은 보내지 않은 것과 같습니다",
    "ChatCompletionBody": "OpenAI의 대화 요청. 모르는 항목은 오류입니다",
    "CompletionBody": "OpenAI의 이어 쓰기 요청. 모르는 항목은 오류입니다",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route: what is sent, what comes back (a name in `answers`), and what can go wrong."""

    path: str
    method: str
    summary: str
    answer: str | None
    body: type[wire.Body] | None = None
    example: dict[str, Any] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    open: bool = False
    parameters: tuple[dict[str, Any], ...] = ()


_ASKED = (400, 401, 403, 405, 413, 429, 500, 503)
_HELLO = {"instruction": {"command": "친절하게 답하세요."}, "input": "안녕? 너는 누구야?"}
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "모델이나 어댑터의 이름",
    "schema": {"type": "string"},
}

OPERATIONS = (
    Operation(
        "/inferweb",
        "post",
        "질문 하나에 답합니다",
        "InferAnswer",
        wire.InferBody,
        _HELLO,
        _ASKED,
    ),
    Operation(
        "/chatweb",
        "post",
        "대화를 이어 갑니다. 기록은 클라이언트가 간직합니다",
        "ChatAnswer",
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
        "ChatCompletion",
        openai_wire.ChatCompletionBody,
        {"messages": [{"role": "user", "content": "한국의 수도는 어디인가요?"}]},
        (*_ASKED, 404),
    ),
    Operation(
        "/v1/completions",
        "post",
        "글을 있는 그대로 이어 씁니다",
        "Completion",
        openai_wire.CompletionBody,
        {"prompt": "옛날 옛적에", "max_tokens": 64},
        (*_ASKED, 404),
    ),
    Operation(
        "/v1/models", "get", "모델과 어댑터의 이름", "ModelList", errors=(401, 405, 500, 503)
    ),
    Operation(
        "/v1/models/{name}",
        "get",
        "모델이나 어댑터 하나",
        "Model",
        errors=(401, 404, 405, 500, 503),
        parameters=(_NAME,),
    ),
    Operation(
        "/health",
        "get",
        "준비되었으면 200, 모델을 올리는 중이면 503",
        "Health",
        errors=(405,),
        open=True,
    ),
    Operation("/metrics", "get", "Prometheus가 읽는 수치", None, errors=(401, 405)),
)


def document() -> dict[str, Any]:
    """The whole document, as JSON values."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    key = "서버를 `--api_key`로 켰을 때만 필요합니다"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LightKorLLM",
            "version": __version__,
            "description": "한국어 LLM의 HTTP API. 모든 답에 `X-Request-Id` 헤더가 있습니다.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_bodies(), **answers.SCHEMAS},
            "responses": {str(status): answers.failure(status) for status in answers.REASONS},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": key}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{operation.method}{operation.path.replace('/', '_')}".replace(
            "{name}", "one"
        ),
        "summary": operation.summary,
        "responses": _responses(operation),
        "security": [] if operation.open else [{"bearer": []}, {}],
    }
    if operation.parameters:
        described["parameters"] = list(operation.parameters)
    if operation.body is not None:
        schema = {"$ref": answers.SCHEMA + operation.body.__name__}
        body = {"application/json": {"schema": schema, "example": operation.example}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    content = _content(operation)
    found: dict[str, Any] = {"200": {"description": operation.summary, "content": content}}
    for status in sorted(operation.errors):
        found[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if operation.answer == "Health":  # says "loading" rather than an error
        loading = {**content["application/json"], "example": {"status": "loading"}}
        found["503"] = {
            "description": "모델을 올리는 중이거나 엔진이 다시 시작하는 중입니다",
            "content": {"application/json": loading},
        }
    return found


def _content(operation: Operation) -> dict[str, Any]:
    name = operation.answer
    if name is None:
        return {"text/plain": {"schema": {"type": "string"}}}
    schema = {"$ref": answers.SCHEMA + name}
    content: dict[str, Any] = {
        "application/json": {"schema": schema, "example": answers.EXAMPLES[name]}
    }
    if name in answers.STREAMS:
        stream = {**answers.EVENT, "description": answers.STREAMS[name]}
        content["text/event-stream"] = {"schema": stream}
    return content


def _bodies() -> dict[str, Any]:
    models = [(each.body, "validation") for each in OPERATIONS if each.body is not None]
    template = answers.SCHEMA + "{model}"
    _, schema = models_json_schema(models, by_alias=True, ref_template=template)  # type: ignore[arg-type]
    bodies: dict[str, Any] = schema["$defs"]
    for model, described in bodies.items():
        described.pop("description", None)  # English, for readers of the code
        if model in _TITLES:
            described["description"] = _TITLES[model]
        for name, each in described.get("properties", {}).items():
            each.pop("title", None)
            each.pop("default", None)  # null: left out
            each["description"] = meaning(model, name)
            _limit(model, name, each)
    return bodies


def _limit(model: str, name: str, described: dict[str, Any]) -> None:
    """Write into a field's schema the limits that are enforced, from where they are declared."""
    for kind in described.get("anyOf", [described]):
        if kind.get("type") in ("integer", "number"):
            kind.update(_range(model, name))
    match name:
        case "stop":
            for kind in _texts(described):
                kind["minLength"] = 1
        case "messages":
            described["minItems"] = 1
        case "prompt":
            described["anyOf"][1] |= {"minItems": 1, "maxItems": openai_wire.MOST_CHOICES}
        case "logit_bias":
            described["anyOf"][0]["additionalProperties"] |= _range(model, name)
            described["anyOf"][0]["propertyNames"] = {
                "pattern": f"^{openai_wire.TOKEN_NUMBER.pattern}$"
            }


def _range(model: str, name: str) -> dict[str, float]:
    if name == "n":
        return {"minimum": 1, "maximum": openai_wire.MOST_CHOICES}
    if (name not in LIMITS and name not in _OWN_NAMES) or f"{model}.{name}" in _FREE:
        return {}
    low, high = LIMITS[_OWN_NAMES.get(name, name)]
    return {"minimum": low} if high == math.inf else {"minimum": low, "maximum": high}


def _texts(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema of each text that a field can hold, alone or in a list."""
    for kind in described["anyOf"]:
        if kind["type"] == "string":
            yield kind
        elif kind["type"] == "array":
            yield kind["items"]
