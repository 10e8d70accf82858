"""The shape that chat formats share: one column holds the list of what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.data.formats.base import Cells, filled, first, kind_of, listed, system_of, text
from lightkorllm.errors import BadRequest

_ROLE_KEYS = ("role", "from", "speaker")
_TEXT_KEYS = ("content", "value", "text")
_CALL_KEYS = ("tool_calls", "function_call")
_USER = frozenset("user human usr prompter question 사용자 사람 질문".split())
_ASSISTANT = frozenset(
    "assistant gpt chatgpt ai bot model bing bard answer 어시스턴트 챗봇 답변".split()
)
_SYSTEM = frozenset("system developer 시스템".split())


@dataclass(frozen=True, slots=True)
class Talks:
    """Of `columns` the first that the row has is read, a list or in a table its JSON.

    System texts are joined in front, as the server does. What the user said last without getting
    an answer teaches nothing and is left out. Raises where nothing would be left to learn.
    """

    name: str
    rank: int
    columns: tuple[str, ...]

    def matches(self, cells: Cells) -> bool:
        cell = cells.get(first(cells, self.columns))
        if isinstance(cell, str):
            return cell.lstrip().startswith("[")
        return isinstance(cell, list) and bool(cell)

    def read(self, cells: Cells) -> Conversation:
        column = first(cells, self.columns)
        if not column:
            raise BadRequest(self.columns[0], "없습니다")
        system: list[str] = [system_of(cells)]
        turns: list[Turn] = []
        for number, message in enumerate(listed(cells[column], column)):
            role, said = _message(message, f"{column}[{number}]")
            if role == "system":
                system.append(said)
            else:
                turns.append(Turn("user" if role == "user" else "assistant", said))
        answered = _answered(turns)
        if not answered:
            raise BadRequest(column, "assistant의 답이 하나도 없습니다")
        return Conversation("\n\n".join(part for part in system if part.strip()), answered)


def _message(message: Any, place: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise BadRequest(place, f"객체여야 합니다 (받은 것: {kind_of(message)})")
    if any(message.get(key) for key in _CALL_KEYS):
        raise BadRequest(place, "도구 호출은 배울 수 없습니다")
    role_key, text_key = first(message, _ROLE_KEYS), first(message, _TEXT_KEYS)
    if not role_key:
        raise BadRequest(place, f"누가 한 말인지({' 또는 '.join(_ROLE_KEYS[:2])})가 없습니다")
    role = _role(text(message[role_key], f"{place}.{role_key}"), f"{place}.{role_key}")
    if not text_key:
        raise BadRequest(place, f"말({' 또는 '.join(_TEXT_KEYS[:2])})이 없습니다")
    said = _joined(message[text_key], f"{place}.{text_key}")
    return role, said if role == "system" else filled(said, f"{place}.{text_key}")


def _role(label: str, place: str) -> str:
    plain = label.strip().strip("#:： ").casefold()
    for role, labels in (("user", _USER), ("assistant", _ASSISTANT), ("system", _SYSTEM)):
        if plain in labels:
            return role
    raise BadRequest(place, f"user, assistant, system 중 하나여야 합니다 (받은 값: {label[:40]!r})")


def _joined(content: Any, place: str) -> str:
    """OpenAI's content: text, or a list of parts that are all text."""
    if not isinstance(content, list):
        return text(content, place)
    for number, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") != "text":
            raise BadRequest(f"{place}[{number}]", "글(text)만 배울 수 있습니다")
    return "".join(text(part.get("text"), place) for part in content)


def _answered(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns up to the last answer."""
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    return tuple(turns[: answers[-1] + 1]) if answers else ()
