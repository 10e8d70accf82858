"""The agreement of all prompt formats: a conversation becomes text, stops and learned parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import BadRequest, OptionError


@dataclass(frozen=True, slots=True)
class Settings:
    """What a format may need to know; most need nothing.

    The labels are for `lightkor`. `chat_template` is the model's own Jinja source, and `bos` and
    `eos` are its tokens as text, for `template`.
    """

    human_str: str = "### 사용자"
    ai_str: str = "### AI"
    stop_str: str = "### 사용자"
    chat_template: str | None = None
    bos: str = ""
    eos: str = ""

    def __post_init__(self) -> None:
        for option, label in (("--human_str", self.human_str), ("--ai_str", self.ai_str)):
            if not label.strip(" \t\n:"):
                raise OptionError(option, f"이름표는 비워 둘 수 없습니다 (받은 값: {label!r})")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt. `learned` marks what an assistant said: training learns only that.

    A learned piece is one whole answer as the model has to emit it, with the space and the end
    marker that the format's own text gives it. Where it has none, EOS belongs right behind it.
    """

    text: str
    learned: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation.

    `stop` are the strings that end an answer in this format. `ai_labels` are headings under which
    a model may repeat itself at the start of its answer; they are cut off there.
    """

    pieces: tuple[Piece, ...]
    stop: tuple[str, ...] = ()
    ai_labels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


class PromptFormat(Protocol):
    """One way to write a conversation down.

    `render` of a conversation that ends with the user opens the assistant's turn and leaves it
    open; of one that ends with the assistant, it is closed (training). Raises `BadRequest` where
    the conversation cannot be written in this format. BOS is written only where the format's
    own text has it; the engine sees to it that the model gets exactly one.
    """

    @property
    def name(self) -> str: ...

    def render(self, conversation: Conversation) -> Prompt: ...


def require_turns(conversation: Conversation) -> None:
    """Raise `BadRequest` where nobody has said anything yet."""
    if not conversation.turns:
        raise BadRequest("input", "대화가 비어 있습니다. 질문을 하나 이상 보내 주세요.")


def alternate(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The same turns, those in a row from one side joined into one by a blank line."""
    return tuple(
        Turn(role, "\n\n".join(turn.text for turn in group))
        for role, group in groupby(turns, key=lambda turn: turn.role)
    )


def compact(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """The same text with as few unlearned pieces as can be; learned ones stay one an answer."""
    compacted: list[Piece] = []
    for piece in pieces:
        if piece.learned or not compacted or compacted[-1].learned:
            compacted.append(piece)
        else:
            compacted[-1] = Piece(compacted[-1].text + piece.text)
    return tuple(piece for piece in compacted if piece.text or piece.learned)
