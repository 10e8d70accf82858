"""The prompt of Vicuna 1.1 (lm-sys/FastChat, `vicuna_v1.1`): everything on one line."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings

_PREAMBLE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def build(settings: Settings) -> PromptFormat:
    """`{preamble} USER: {U} ASSISTANT: {A}</s>USER: {U} ASSISTANT: {A}</s>`.

    A system text replaces the preamble. The answer is opened without the space behind the colon:
    in LLaMA's vocabulary it belongs to the answer's first token, so the model emits it.
    """
    return Labelled(
        name="vicuna",
        preamble=_PREAMBLE,
        after_system=" ",
        user="USER: ",
        after_user=" ",
        assistant="ASSISTANT:",
        answer_start=" ",
        answer_end="</s>",
        between="",
        stop=("</s>", "USER:"),
        ai_labels=("ASSISTANT:",),
    )
