"""JSON bodies ↔ our nouns, without Flask: what clients send is checked here, field by field."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from lightkorllm.conversation import Conversation, Role, Turn
from lightkorllm.errors import BadRequest
from lightkorllm.generation import Reply, SamplingParams

BodyT = TypeVar("BodyT", bound="Body")


class Body(BaseModel):
    """A JSON object of a request. Unknown keys are refused: a typo must not be silent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Instruction(Body):
    command: str | None = None


class HistoryEntry(Body):
    model_config = ConfigDict(extra="ignore", strict=True)

    type: str
    str_: Annotated[str, Field(alias="str")]


class History(Body):
    count: float | None = None  # Godot's JSON makes 1 into 1.0, and sends it back so
    history: list[HistoryEntry] | None = None


class InferBody(Body):
    """`POST /inferweb`: one question. Everything but `input` is optional, and null is absent."""

    input: str
    instruction: Instruction | None = None
    max_new_token: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    num_beams: int | None = None
    adapter: str | None = None
    stream: bool | None = None


class ChatBody(InferBody):
    """`POST /chatweb`: a question and the history that the client keeps."""

    history: History | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """How the two sides are called in `history`: read leniently, written as configured."""

    human: str = "### 사용자"
    ai: str = "### AI"

    def role(self, label: str, *, place: str) -> Role:
        """The side that a history entry's `type` means. Raises `BadRequest` naming `place`."""
        plain = _plain(label)
        if plain in ("사용자", "user", "human", "질문", _plain(self.human)):
            return "user"
        if plain in ("ai", "assistant", "bot", "챗봇", "답변", "gpt", _plain(self.ai)):
            return "assistant"
        raise BadRequest(
            place, f"{self.human!r} 또는 {self.ai!r}여야 합니다 (받은 값: {label[:40]!r})"
        )

    def label(self, role: Role) -> str:
        return self.human if role == "user" else self.ai


def _plain(label: str) -> str:
    return label.strip().strip("#:： ").casefold()


def read_json(data: bytes) -> Any:
    """The JSON of a request body. Raises `BadRequest` for anything that is not valid JSON."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest(
            "",
            "요청 본문이 UTF-8이 아닙니다. Windows 명령 프롬프트라면 본문을 UTF-8 파일로 저장해 "
            "`curl --data-binary @파일`로 보내 주세요",
        ) from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
        _refuse_surrogates(value)  # goes less deep than the parser of some Pythons
    except RecursionError:
        raise BadRequest("", "요청 본문의 JSON이 너무 깊습니다") from None
    except ValueError as error:
        raise BadRequest("", f"요청 본문이 올바른 JSON이 아닙니다 ({error})") from None
    return value


def _refuse_surrogates(value: Any) -> None:
    for place, string in _strings(value, ""):
        if any("\ud800" <= char <= "\udfff" for char in string):
            raise BadRequest(place, "짝이 없는 서로게이트(깨진 이모지)가 들어 있습니다")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _strings(item, f"{place}[{number}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield place, key
            yield from _strings(item, f"{place}.{key}" if place else key)


def read_body(kind: type[BodyT], data: bytes) -> BodyT:
    """A request body of `kind`. Raises `BadRequest` that names the first wrong field."""
    return check_body(kind, read_json(data))


def check_body(kind: type[BodyT], value: Any) -> BodyT:
    """The same for JSON that was read already."""
    if not isinstance(value, dict):
        raise BadRequest("", f"요청 본문은 JSON 객체여야 합니다 (받은 것: {_kind_of(value)})")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise _bad_request(faults[0], kind) from None  # a typo explains what is missing


_PROBLEMS = {
    "missing": "꼭 있어야 하는 항목입니다",
    "string_type": "문자열이어야 합니다",
    "int_type": "정수여야 합니다",
    "float_type": "숫자여야 합니다",
    "finite_number": "유한한 숫자여야 합니다",
    "bool_type": "true 또는 false여야 합니다",
    "list_type": "목록이어야 합니다",
    "model_type": "객체여야 합니다",
    "dict_type": "객체여야 합니다",
}


def _bad_request(error: ErrorDetails, kind: type[Body]) -> BadRequest:
    place = _place(error["loc"])
    if error["loc"][:1] == ("stop",):  # pydantic adds which kind of the two it tried
        return BadRequest("stop", "문자열 또는 문자열 목록이어야 합니다")
    if error["type"] == "extra_forbidden":
        return BadRequest(place, "모르는 항목입니다" + _guess(str(error["loc"][-1]), kind))
    problem = _PROBLEMS.get(error["type"], "올바르지 않은 값입니다")
    if error["type"] == "missing":
        return BadRequest(place, problem)
    return BadRequest(place, f"{problem} (받은 값: {_kind_of(error['input'])})")


def _place(parts: Iterable[int | str]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _guess(name: str, kind: type[Body]) -> str:
    close = difflib.get_close_matches(name, kind.model_fields, n=1)
    return f" (혹시 `{close[0]}`?)" if close else ""


def _kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "객체"
    if isinstance(value, list):
        return "목록"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def params_from(body: InferBody, defaults: SamplingParams) -> SamplingParams:
    """The parameters that a body asks for, over the server's own defaults."""
    asked: dict[str, Any] = {
        "max_tokens": body.max_new_token,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
        "seed": body.seed,
        "stop": (body.stop,) if isinstance(body.stop, str) else body.stop,
        "num_beams": body.num_beams,
    }
    try:
        return replace(defaults, **{k: v for k, v in asked.items() if v is not None})
    except BadRequest as error:
        if error.param == "max_tokens":
            raise BadRequest("max_new_token", error.problem) from None
        raise


def conversation_from(body: InferBody, labels: Labels) -> Conversation:
    """The conversation that a body holds, its newest question last."""
    turns = [
        Turn(labels.role(entry.type, place=f"history.history[{number}].type"), entry.str_)
        for number, entry in enumerate(_entries(body))
    ]
    system = (body.instruction and body.instruction.command) or ""
    return Conversation(system, (*turns, Turn("user", body.input)))


def answer_to(body: InferBody, reply: Reply, labels: Labels, *, dropped: int = 0) -> dict[str, Any]:
    """The JSON answer of `/inferweb` and `/chatweb`; earlier entries keep their text as sent."""
    earlier = [(labels.role(entry.type, place=""), entry.str_) for entry in _entries(body)]
    said: list[tuple[Role, str]] = [*earlier, ("user", body.input), ("assistant", reply.text)]
    entries = [{"type": labels.label(role), "str": text} for role, text in said]
    history: dict[str, Any] = {"history": entries}
    if isinstance(body, ChatBody):
        history = {"count": _exchanges(said), **history}
    answer: dict[str, Any] = {
        "result": reply.text,
        "history": history,
        "finish_reason": reply.finish_reason,
        "usage": {
            "prompt_tokens": reply.usage.prompt_tokens,
            "completion_tokens": reply.usage.completion_tokens,
            "total_tokens": reply.usage.total_tokens,
            "cached_tokens": reply.usage.cached_tokens,
        },
    }
    if isinstance(body, ChatBody):
        answer["dropped_exchanges"] = dropped
    return answer


def _entries(body: InferBody) -> Sequence[HistoryEntry]:
    history = body.history if isinstance(body, ChatBody) else None
    return (history and history.history) or ()


def _exchanges(said: Sequence[tuple[Role, str]]) -> int:
    return len(Conversation(turns=tuple(Turn(role, "") for role, _ in said)).exchanges)
