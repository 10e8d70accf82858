"""Bodies in OpenAI's wire format → our nouns, without Flask.

Shapes: https://platform.openai.com/docs/api-reference/chat and …/completions. Unknown fields are
refused as there; known ones that an engine cannot do are refused by name; those that change
nothing here (`user`, `store`, …) are accepted and not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import BadRequest, Unsupported
from lightkorllm.generation import MAX_SEED, SamplingParams
from lightkorllm.server.wire import Body

MOST_CHOICES = 16
TOKEN_NUMBER = re.compile("[0-9]{1,10}")


class StreamOptions(Body):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JsonSchema(Body):
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class GenerateBody(Body):
    """What both generating routes share."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    # accepted and not looked at: they change nothing here
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class Part(Body):
    type: str
    text: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None


class Message(Body):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: Any = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    tool_call_id: str | None = None


class ChatCompletionBody(GenerateBody):
    """`POST /v1/chat/completions`."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    prediction: Any = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    web_search_options: Any = None


class CompletionBody(GenerateBody):
    """`POST /v1/completions`: a text is continued as it stands."""

    prompt: str | list[str]
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None


def params_from(body: GenerateBody, defaults: SamplingParams) -> SamplingParams:
    """The parameters that a body asks for. Raises `BadRequest` naming OpenAI's field."""
    _refuse_what_we_cannot(body)
    most = body.max_tokens
    if isinstance(body, ChatCompletionBody) and body.max_completion_tokens is not None:
        most = body.max_completion_tokens  # the newer name wins where both are given
    asked: dict[str, Any] = {
        "max_tokens": most,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "logit_bias": _logit_bias(body.logit_bias),
        "seed": None if body.seed is None else body.seed % (MAX_SEED + 1),
        "stop": (body.stop,) if isinstance(body.stop, str) else body.stop,
        "json_schema": _json_schema(body.response_format),
        "logprobs": _wanted_logprobs(body),
    }
    try:
        return replace(defaults, **{k: v for k, v in asked.items() if v is not None})
    except BadRequest as error:
        if isinstance(body, ChatCompletionBody):
            raise _as_chat_names_it(error, body) from None
        raise


def _as_chat_names_it(error: BadRequest, body: ChatCompletionBody) -> BadRequest:
    if error.param == "logprobs":
        return BadRequest("top_logprobs", error.problem)
    if error.param == "max_tokens" and body.max_completion_tokens is not None:
        return BadRequest("max_completion_tokens", error.problem)
    return error


def choices_of(body: GenerateBody) -> int:
    """How many answers are asked for."""
    count = 1 if body.n is None else body.n
    if not 1 <= count <= MOST_CHOICES:
        raise BadRequest("n", f"1 이상 {MOST_CHOICES} 이하여야 합니다 (받은 값: {count})")
    return count


def _refuse_what_we_cannot(body: GenerateBody) -> None:
    wanted: dict[str, Any] = {}
    if isinstance(body, ChatCompletionBody):
        wanted = {
            "tools": body.tools,
            "functions": body.functions,
            "audio": body.audio,
            "prediction": body.prediction,
            "web_search_options": body.web_search_options,
            "tool_choice": body.tool_choice not in (None, "none", "auto"),
            "modalities": body.modalities not in (None, [], ["text"]),
        }
    elif isinstance(body, CompletionBody):
        wanted = {
            "suffix": body.suffix,
            "echo": body.echo,
            "best_of": body.best_of not in (None, 1, body.n),
        }
    for name, value in wanted.items():
        if value:
            raise Unsupported(name, "이 서버는 아직 이 기능을 지원하지 않습니다")


def _wanted_logprobs(body: GenerateBody) -> int | None:
    if isinstance(body, CompletionBody):
        return body.logprobs
    if not isinstance(body, ChatCompletionBody):
        return None
    if body.top_logprobs is not None and not body.logprobs:
        raise BadRequest("top_logprobs", "`logprobs`를 true로 함께 보내야 합니다")
    return (body.top_logprobs or 0) if body.logprobs else None


def _logit_bias(bias: Mapping[str, float] | None) -> tuple[tuple[int, float], ...] | None:
    if not bias:
        return None
    wrong = next((token for token in bias if not TOKEN_NUMBER.fullmatch(token)), None)
    if wrong is not None:
        raise BadRequest("logit_bias", f"키는 토큰 번호여야 합니다 (받은 값: {wrong[:40]!r})")
    return tuple((int(token), value) for token, value in bias.items())


def _json_schema(wanted: ResponseFormat | None) -> str | None:
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return '{"type": "object"}'
    if wanted.json_schema is None:
        raise BadRequest("response_format.json_schema", "꼭 있어야 하는 항목입니다")
    return json.dumps(wanted.json_schema.schema_, ensure_ascii=False)


def conversation_from(messages: Sequence[Message]) -> Conversation:
    """The conversation of chat messages; system and developer texts are joined in front."""
    if not messages:
        raise BadRequest("messages", "메시지가 하나 이상 있어야 합니다")
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        text = _text_of(message, place=f"messages[{number}]")
        match message.role:
            case "system" | "developer":
                system.append(text)
            case "user" | "assistant":
                turns.append(Turn("user" if message.role == "user" else "assistant", text))
            case "tool" | "function":
                raise Unsupported(f"messages[{number}].role", "도구 호출은 아직 지원하지 않습니다")
            case _:
                raise BadRequest(
                    f"messages[{number}].role",
                    f"system, user, assistant 중 하나여야 합니다 (받은 값: {message.role[:40]!r})",
                )
    if not turns or turns[-1].role != "user":
        raise BadRequest("messages", "마지막 메시지는 user여야 합니다")
    return Conversation("\n\n".join(system), tuple(turns))


def _text_of(message: Message, *, place: str) -> str:
    if message.tool_calls or message.function_call:
        raise Unsupported(f"{place}.tool_calls", "도구 호출은 아직 지원하지 않습니다")
    if not isinstance(message.content, list):
        return message.content or ""
    for number, part in enumerate(message.content):
        if part.type not in ("text", "input_text") or part.text is None:
            raise Unsupported(
                f"{place}.content[{number}].type",
                f"글(text)만 받습니다 (받은 값: {part.type[:40]!r})",
            )
    return "".join(part.text or "" for part in message.content)
