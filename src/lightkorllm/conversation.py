"""A conversation: one optional instruction and the turns that user and assistant took."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lightkorllm.errors import BadRequest

Role = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said. The text is NFC: macOS sends decomposed Hangul."""

    role: Role
    text: str

    def __post_init__(self) -> None:
        if self.role not in ("user", "assistant"):
            raise BadRequest("role", f"user 또는 assistant여야 합니다 (받은 값: {self.role!r})")
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))


@dataclass(frozen=True, slots=True)
class Conversation:
    """A system text (the original's `instruction.command`) and turns in the order they were said.

    Nothing here is ever changed in place: `add` and `without_oldest` return new conversations.
    """

    system: str = ""
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "system", unicodedata.normalize("NFC", self.system))
        object.__setattr__(self, "turns", tuple(self.turns))

    @classmethod
    def ask(cls, question: str, *, system: str = "") -> Conversation:
        """A conversation of one question."""
        return cls(system, (Turn("user", question),))

    def add(self, role: Role, text: str) -> Conversation:
        """The same conversation with one more turn."""
        return replace(self, turns=(*self.turns, Turn(role, text)))

    @property
    def exchanges(self) -> tuple[tuple[Turn, ...], ...]:
        """The turns in groups that belong together: each starts where the user speaks anew.

        What the assistant said before the user's first word is a group of its own.
        """
        return tuple(_groups(self.turns))

    def without_oldest(self, count: int) -> Conversation:
        """The same conversation without its `count` oldest exchanges."""
        return replace(
            self, turns=tuple(turn for group in self.exchanges[count:] for turn in group)
        )


def _groups(turns: tuple[Turn, ...]) -> Iterator[tuple[Turn, ...]]:
    group: list[Turn] = []
    for turn in turns:
        if turn.role == "user" and group and group[-1].role == "assistant":
            yield tuple(group)
            group = []
        group.append(turn)
    if group:
        yield tuple(group)
