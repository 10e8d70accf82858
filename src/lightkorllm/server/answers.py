"""What the routes answer, as JSON schemas with an example each; and every error by its status."""

from __future__ import annotations

from typing import Any, get_args

from lightkorllm.errors import (
    BadRequest,
    BodyTooLarge,
    ContextOverflow,
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    LightKorError,
    LimitReached,
    NoSuchModel,
    StrangerPage,
    TemplateFailed,
    Unauthorized,
    Unsupported,
    WrongMethod,
)
from lightkorllm.generation import FinishReason
from lightkorllm.server import faults

Schema = dict[str, Any]

SCHEMA = "#/components/schemas/"


def _text(meaning: str, **more: Any) -> Schema:
    return {"type": "string", "description": meaning, **more}


def _count(meaning: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": meaning}


def _number(meaning: str, *more: str) -> Schema:
    return {"type": ["number", *more] if more else "number", "description": meaning}


def _list(items: Schema, meaning: str) -> Schema:
    return {"type": "array", "items": items, "description": meaning}


def _one(model: str, meaning: str) -> Schema:
    return {"$ref": SCHEMA + model, "description": meaning}


def _or_null(model: str, meaning: str) -> Schema:
    return {"anyOf": [{"$ref": SCHEMA + model}, {"type": "null"}], "description": meaning}


def _object(**properties: Schema) -> Schema:
    """An object that always has all of `properties`."""
    return {"type": "object", "properties": properties, "required": list(properties)}


_FINISH = _text(
    "`stop`: 모델이 끝냈거나 정지 문자열이 나옴. `length`: 토큰 수 한도에 닿음",
    enum=list(get_args(FinishReason)),
)
_ENTRIES = _list({"$ref": SCHEMA + "AnswerEntry"}, "보낸 것 전부와 이번 질문과 답")
_TOKENS = {
    "prompt_tokens": _count("프롬프트의 토큰 수"),
    "completion_tokens": _count("답의 토큰 수"),
    "total_tokens": _count("둘을 더한 것"),
}
_CACHED = _count("프롬프트 가운데 다시 계산하지 않은 토큰 수")
_HEAD = {
    "id": _text("답의 이름"),
    "created": _count("만든 때. 1970년부터 센 초"),
    "model": _text("답한 모델이나 어댑터"),
    "usage": _one("CompletionUsage", "토큰 수"),
    "timings": _one("Timings", "걸린 시간"),
}


def _legacy(history: str, **more: Schema) -> Schema:
    return _object(
        result=_text("답. 정지 문자열, AI 이름표, 앞뒤 빈칸은 들어 있지 않습니다"),
        history=_one(history, "다음 질문에 그대로 넣을 대화 기록"),
        finish_reason=_FINISH,
        usage=_one("Usage", "토큰 수"),
        **more,
    )


def _completion(kind: str, choice: str) -> Schema:
    choices = _list({"$ref": SCHEMA + choice}, "답. `n`개")
    return _object(object={"const": kind, "description": f"늘 {kind}"}, choices=choices, **_HEAD)


def _choice(logprobs: str, **said: Schema) -> Schema:
    return _object(
        index=_count("몇째 답인지. 0부터"),
        **said,
        logprobs=_or_null(logprobs, "로그 확률. 달라고 하지 않았으면 null"),
        finish_reason=_FINISH,
    )


_SCORED = {
    "token": _text("토큰. 글자의 한 조각이면 `�`"),
    "bytes": _list({"type": "integer", "minimum": 0, "maximum": 255}, "토큰의 UTF-8 바이트"),
    "logprob": _number("자연로그 확률"),
}

SCHEMAS: dict[str, Schema] = {
    "InferAnswer": _legacy("InferHistory"),
    "ChatAnswer": _legacy(
        "ChatHistory", dropped_exchanges=_count("문맥에 들어가지 않아 프롬프트에서 뺀 문답의 수")
    ),
    "InferHistory": _object(history=_ENTRIES),
    "ChatHistory": _object(count=_count("문답의 수"), history=_ENTRIES),
    "AnswerEntry": _object(type=_text("말한 쪽"), str=_text("말한 글")),
    "Usage": _object(**_TOKENS, cached_tokens=_CACHED),
    "ChatCompletion": _completion("chat.completion", "ChatChoice"),
    "ChatChoice": _choice("ChatLogprobs", message=_one("AnswerMessage", "답")),
    "AnswerMessage": _object(
        role={"const": "assistant", "description": "늘 assistant"},
        content=_text("답"),
        refusal={"type": "null", "description": "늘 null"},
    ),
    "ChatLogprobs": _object(
        content=_list({"$ref": SCHEMA + "TokenLogprob"}, "토큰마다"),
        refusal={"type": "null", "description": "늘 null"},
    ),
    "TokenLogprob": _object(
        **_SCORED, top_logprobs=_list({"$ref": SCHEMA + "RivalLogprob"}, "다른 후보")
    ),
    "RivalLogprob": _object(**_SCORED),
    "Completion": _completion("text_completion", "TextChoice"),
    "TextChoice": _choice("TextLogprobs", text=_text("이어 쓴 글")),
    "TextLogprobs": _object(
        tokens=_list({"type": "string"}, "토큰"),
        token_logprobs=_list({"type": "number"}, "자연로그 확률"),
        top_logprobs=_list(
            {"type": "object", "additionalProperties": {"type": "number"}}, "다른 후보와 그 확률"
        ),
        text_offset=_list({"type": "integer", "minimum": 0}, "답에서 토큰이 시작하는 자리"),
    ),
    "CompletionUsage": _object(
        **_TOKENS, prompt_tokens_details=_one("CachedTokens", "프롬프트의 토큰을 나누어 보면")
    ),
    "CachedTokens": _object(cached_tokens=_CACHED),
    "Timings": _object(
        total_ms=_number("밀리초"), tokens_per_second=_number("초당 토큰 수", "null")
    ),
    "ModelList": _object(
        object={"const": "list", "description": "늘 list"},
        data=_list({"$ref": SCHEMA + "Model"}, "모델과 어댑터. 고르지 않으면 맨 앞의 것"),
    ),
    "Model": _object(
        id=_text("이름"),
        object={"const": "model", "description": "늘 model"},
        created=_count("늘 0"),
        owned_by=_text("늘 lightkorllm"),
        parent={"type": ["string", "null"], "description": "어댑터면 그 바탕 모델의 이름"},
        max_model_len=_count("문맥 길이(토큰). 질문과 답을 합친 것"),
    ),
    "Health": _object(status=_text("모델을 올리는 중이면 `loading`(503)", enum=["ok", "loading"])),
    "Error": _object(error=_one("Fault", "무엇이 잘못되었는지")),
    "Fault": _object(
        message=_text("사람이 읽는 한국어 문장"),
        type=_text(
            "보낸 쪽의 잘못이면 invalid_request_error, 서버 쪽의 문제면 server_error",
            enum=["invalid_request_error", "server_error"],
        ),
        param={"type": ["string", "null"], "description": "틀린 항목의 자리. 없으면 null"},
        code=_text("프로그램이 보는 값. 바뀌지 않습니다"),
    ),
}

_ASKED = {"type": "### 사용자", "str": "안녕? 너는 누구야?"}
_SAID = {"type": "### AI", "str": "저는 한국어로 답하는 AI입니다."}
_USED = {"prompt_tokens": 21, "completion_tokens": 12, "total_tokens": 33}
_MODEL = {
    "id": "gemma-3-270m", "object": "model", "created": 0, "owned_by": "lightkorllm",
    "parent": None, "max_model_len": 4096,
}  # fmt: skip


def _completed(kind: str, said: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "cmpl-0123456789abcdef01234567",
        "object": kind,
        "created": 1795000000,
        "model": "gemma-3-270m",
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "stop"}],
        "usage": {**_USED, "prompt_tokens_details": {"cached_tokens": 0}},
        "timings": {"total_ms": 210.4, "tokens_per_second": 57.03},
    }


EXAMPLES: dict[str, Any] = {
    "InferAnswer": {
        "result": _SAID["str"],
        "history": {"history": [_ASKED, _SAID]},
        "finish_reason": "stop",
        "usage": {**_USED, "cached_tokens": 0},
    },
    "ChatAnswer": {
        "result": "누구냐고 물으셨습니다.",
        "history": {
            "count": 2,
            "history": [
                _ASKED,
                _SAID,
                {"type": "### 사용자", "str": "내가 아까 뭐라고 물었지?"},
                {"type": "### AI", "str": "누구냐고 물으셨습니다."},
            ],
        },
        "finish_reason": "stop",
        "usage": {**_USED, "cached_tokens": 9},
        "dropped_exchanges": 0,
    },
    "ChatCompletion": _completed(
        "chat.completion",
        {"message": {"role": "assistant", "content": "서울입니다.", "refusal": None}},
    ),
    "Completion": _completed("text_completion", {"text": " 어느 마을에 나무꾼이 살았습니다."}),
    "ModelList": {"object": "list", "data": [_MODEL]},
    "Model": _MODEL,
    "Health": {"status": "ok"},
}

EVENT = _object(data=_text("사건의 글"))  # OpenAPI 3.2 settles it so; 3.1 leaves it open

_LEGACY_STREAM = (
    '사건마다 `data: {"delta": 글}`. 마지막 사건은 스트리밍하지 않을 때와 같은 JSON 전체입니다. '
    '`:`로 시작하는 줄은 주석입니다. 중간의 오류는 마지막 사건 `data: {"error": {…}}`로 옵니다'
)
_OPENAI_STREAM = (
    "OpenAI와 같은 조각을 사건마다 하나씩 보내고 `data: [DONE]`으로 끝납니다. "
    '`:`로 시작하는 줄은 주석입니다. 중간의 오류는 마지막 사건 `data: {"error": {…}}`로 옵니다'
)
STREAMS = {
    "InferAnswer": _LEGACY_STREAM,
    "ChatAnswer": _LEGACY_STREAM,
    "ChatCompletion": _OPENAI_STREAM,
    "Completion": _OPENAI_STREAM,
}

OCCASIONS: tuple[LightKorError, ...] = (
    BadRequest("temperature", "0 이상 2 이하여야 합니다 (받은 값: 3)"),
    Unsupported("num_beams", "빔 탐색은 스트리밍과 함께 쓸 수 없습니다"),
    TemplateFailed("", "모델의 대화 템플릿이 이 대화를 거절했습니다"),
    ContextOverflow(9000, 8192),
    Unauthorized(),
    StrangerPage("https://example.com"),
    NoSuchModel("gpt-9", known=("gemma-3-270m",)),
    WrongMethod(),
    BodyTooLarge(1024 * 1024),
    EngineBusy(slots=4, queue=32),
    LimitReached("한도를 넘었습니다. 12초 뒤에 다시 시도해 주세요.", retry_after=12),
    EngineFailed("답을 만들다 끊겼습니다. 다시 시도해 주세요."),
    EngineError("엔진에 문제가 생겼습니다."),
    LightKorError("서버 안에서 뜻밖의 오류가 났습니다. 서버 로그를 확인해 주세요."),
    EngineUnavailable("모델을 올리는 중입니다. 잠시 뒤 다시 시도해 주세요."),
)
"""One of each error that a route can answer with: the documentation shows their own words."""

REASONS = {
    400: "요청의 어느 항목이 잘못되었거나 할 수 없는 것입니다",
    401: "키가 필요합니다",
    403: "다른 사이트의 웹 페이지가 보낸 요청입니다",
    404: "그런 이름은 없습니다",
    405: "이 주소를 다른 메서드로 불렀습니다",
    413: "본문이 너무 큽니다",
    429: "요청이 너무 많습니다. Retry-After 뒤에 다시 하세요",
    500: "엔진이 답을 끝내지 못했습니다",
    503: "모델을 올리는 중이거나 서버를 끝내는 중입니다. Retry-After 뒤에 다시 하세요",
}


def failure(status: int) -> dict[str, Any]:
    """The response object of a status: its reason, headers and an example of each `code`."""
    errors = [error for error in OCCASIONS if faults.status(error) == status]
    examples = {error.code: {"value": faults.body(error)} for error in errors}
    content = {"schema": {"$ref": SCHEMA + "Error"}, "examples": examples}
    names = dict.fromkeys(name for error in errors for name in faults.headers(error))
    described: dict[str, Any] = {
        "description": REASONS[status],
        "content": {"application/json": content},
    }
    if names:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    return described
