"""LightKorLLM: quantise, fine-tune, try and serve a Korean language model on your own machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.chat import ChatModel

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def load(model: str | None = None, **options: object) -> ChatModel:
    """A model to talk to: `load("model.gguf").reply(Conversation.ask("안녕?"), SamplingParams())`.

    `model` is what `--model` takes, None the embedded model; `options` are fields of
    `options.ChatOptions`. Close it with `.close()`. Raises a `SetupError` where it can't be run.
    """
    from lightkorllm.chat import open_chat
    from lightkorllm.options import ChatOptions

    return open_chat(ChatOptions(quantized_model_dir=model, **options))  # type: ignore[arg-type]
