"""The prompt of EEVE-Korean-Instruct (yanolja): Vicuna's preamble, a line for each label."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings

_PREAMBLE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


def build(settings: Settings) -> PromptFormat:
    """`{preamble}\\nHuman: {U}\\nAssistant:\\n{A}\\n`; a system text replaces the preamble."""
    return Labelled(
        name="eeve",
        preamble=_PREAMBLE,
        after_system="\n",
        user="Human: ",
        after_user="\n",
        assistant="Assistant:\n",
        between="\n",
        end="\n",
        stop=("Human:", "</s>", "<|im_end|>"),
        ai_labels=("Assistant:",),
    )
