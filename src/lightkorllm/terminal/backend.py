"""Who answers in a terminal: a model of our own or a running server, asked in the same way."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from lightkorllm.conversation import Conversation
from lightkorllm.generation import SamplingParams, TokenChunk
from lightkorllm.terminal.settings import Settings


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of the model that answers.

    `context_length` is in tokens, 0 where a server does not tell. `default_adapter` answers where
    none is chosen. `defaults` is what happens where nothing is set; None is known to the server.
    """

    name: str
    context_length: int = 0
    adapters: tuple[str, ...] = ()
    default_adapter: str | None = None
    defaults: SamplingParams | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer on its way; closing `chunks` ends the work.

    `dropped` exchanges were left out of the prompt, as far as is known.
    """

    chunks: Generator[TokenChunk, None, None]
    dropped: int = 0


class Backend(Protocol):
    """One model to talk to."""

    @property
    def model(self) -> Model: ...

    def ask(self, conversation: Conversation, settings: Settings, *, adapter: str | None) -> Asked:
        """The answer to a conversation that ends with a question; `adapter` as in a
        `GenerationRequest`. Raises a `LightKorError`, also while the answer is read."""

    def close(self) -> None: ...
