"""The shape that question-and-answer formats share: a column asks, a column answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.data.formats.base import Cells, filled, first, listed, required, system_of, text
from lightkorllm.errors import BadRequest

_HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Of `questions` and `answers` the first column that the row has is read.

    All `contexts` that are not blank follow the question after a blank line, as one thing said by
    the user: a conversation has no second input. A system column and `history`, a list of earlier
    [question, answer] pairs, are read where they are.
    """

    name: str
    rank: int
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    contexts: tuple[str, ...] = ()

    def matches(self, cells: Cells) -> bool:
        return bool(first(cells, self.questions) and first(cells, self.answers))

    def read(self, cells: Cells) -> Conversation:
        question = Turn("user", self._question(cells))
        answer = Turn("assistant", required(cells, self.answers))
        return Conversation(system_of(cells), (*_earlier(cells), question, answer))

    def _question(self, cells: Cells) -> str:
        names = dict.fromkeys((first(cells, self.questions), *self.contexts))
        parts = (text(cells.get(name), name) for name in names)
        question = "\n\n".join(part for part in parts if part.strip())
        return question or required(cells, self.questions)


def _earlier(cells: Cells) -> Iterator[Turn]:
    for number, pair in enumerate(listed(cells.get(_HISTORY), _HISTORY)):
        place = f"{_HISTORY}[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRequest(place, "[질문, 답] 꼴이어야 합니다")
        yield Turn("user", filled(pair[0], place))
        yield Turn("assistant", filled(pair[1], place))
