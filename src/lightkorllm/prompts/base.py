"""The agreement of all prompt formats: a conversation becomes text, stops and learned parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lightkorllm.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a prompt. `learned` marks what an assistant said: training learns only that."""

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
