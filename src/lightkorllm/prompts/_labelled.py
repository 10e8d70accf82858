"""The shape that plain-text formats share: an instruction, then turns under their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightkorllm.conversation import Conversation
from lightkorllm.prompts.base import Piece, Prompt, compact, require_turns


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt format told by its parts; every field but `preamble` is written as it stands.

    `preamble` takes the instruction's place where the conversation has none. `answer_start` and
    `answer_end` are emitted by the model, so they are learned. `between` stands between an answer
    and the next turn, `end` behind the last answer.
    """

    name: str
    user: str
    assistant: str
    stop: tuple[str, ...]
    ai_labels: tuple[str, ...] = ()
    system: str = ""
    preamble: str = ""
    after_system: str = "\n\n"
    after_user: str = "\n\n"
    answer_start: str = ""
    answer_end: str = ""
    between: str = "\n\n"
    end: str = ""

    def render(self, conversation: Conversation) -> Prompt:
        """See `PromptFormat`. Turns may come in any order; each gets its own label."""
        require_turns(conversation)
        pieces = compact(self._pieces(conversation))
        return Prompt(pieces, stop=self.stop, ai_labels=self.ai_labels)

    def _pieces(self, conversation: Conversation) -> Iterator[Piece]:
        yield Piece(self._opening(conversation.system))
        last = len(conversation.turns) - 1
        for index, turn in enumerate(conversation.turns):
            if turn.role == "user":
                yield Piece(f"{self.user}{turn.text}{self.after_user}")
            else:
                yield Piece(self.assistant)
                yield Piece(f"{self.answer_start}{turn.text}{self.answer_end}", learned=True)
                yield Piece(self.between if index < last else self.end)
        if conversation.turns[last].role == "user":
            yield Piece(self.assistant)

    def _opening(self, system: str) -> str:
        text = system if system.strip() else self.preamble
        return f"{self.system}{text}{self.after_system}" if text else ""
