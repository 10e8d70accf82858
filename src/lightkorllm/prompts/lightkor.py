"""The original LightKorLLM prompt: the instruction, then turns under configurable labels."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings


def build(settings: Settings) -> PromptFormat:
    """`{system}\\n\\n### 사용자:\\n{user}\\n\\n### AI:\\n{answer}`, blocks apart by a blank line.

    A colon that a label already ends with is not doubled. An answer stops at `stop_str` and, in
    any case, where the user's label begins or the AI's stands again with its colon: models like
    to write the next question themselves, and sometimes its answer too.
    """
    human, ai = _without_colon(settings.human_str), _without_colon(settings.ai_str)
    stops = (settings.stop_str, _mark(human), f"{ai}:")
    return Labelled(
        name="lightkor",
        user=f"{human}:\n",
        assistant=f"{ai}:\n",
        stop=tuple(dict.fromkeys(stop for stop in stops if stop)),
        ai_labels=(_mark(ai),),
    )


def _without_colon(label: str) -> str:
    return label.strip().removesuffix(":").rstrip()


def _mark(label: str) -> str:
    """The label as it is looked for in an answer: a bare word only with its colon.

    `### 사용자` cannot be meant otherwise, but a plain `사용자` is a word of its own.
    """
    return f"{label}:" if label[0].isalnum() else label
