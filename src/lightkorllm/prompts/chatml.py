"""ChatML, the prompt of Qwen and of many others; a model's own template may add to it."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings


def build(settings: Settings) -> PromptFormat:
    """`<|im_start|>{role}\\n{text}<|im_end|>\\n` for system, user and assistant alike.

    The model emits `<|im_end|>` itself, so it is learned; the newline behind it is not.
    """
    return Labelled(
        name="chatml",
        system="<|im_start|>system\n",
        after_system="<|im_end|>\n",
        user="<|im_start|>user\n",
        after_user="<|im_end|>\n",
        assistant="<|im_start|>assistant\n",
        answer_end="<|im_end|>",
        between="\n",
        end="\n",
        stop=("<|im_end|>",),
    )
