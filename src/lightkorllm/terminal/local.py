"""A model in this program answers."""

from __future__ import annotations

from lightkorllm import chat
from lightkorllm.chat import ChatModel
from lightkorllm.conversation import Conversation
from lightkorllm.generation import SamplingParams
from lightkorllm.options import ChatOptions
from lightkorllm.terminal.backend import Asked, Model
from lightkorllm.terminal.settings import Settings


class LocalBackend:
    """Answers with a `ChatModel`, which is closed with it."""

    def __init__(self, chat_model: ChatModel, *, defaults: SamplingParams | None = None) -> None:
        self._chat = chat_model
        engine = chat_model.engine
        self._model = Model(
            engine.info.name,
            engine.info.context_length,
            engine.capabilities.adapters,
            engine.capabilities.default_adapter,
            defaults or SamplingParams(),
        )

    @property
    def model(self) -> Model:
        return self._model

    def ask(self, conversation: Conversation, settings: Settings, *, adapter: str | None) -> Asked:
        params = settings.over(self._model.defaults)
        question = self._chat.prepare(conversation, params, adapter=adapter)
        return Asked(self._chat.stream(question), question.dropped)

    def close(self) -> None:
        self._chat.close()


def open_local(options: ChatOptions) -> LocalBackend:
    """The model of `options`, loaded. Raises a `SetupError` where it can't be."""
    return LocalBackend(chat.open_chat(options), defaults=chat.default_params(options))
