"""The prompt of KoAlpaca-Polyglot (Beomi/KoAlpaca): question and answer, no instruction slot."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings


def build(settings: Settings) -> PromptFormat:
    """`### 질문: {U}\\n\\n### 답변:{A}`.

    A system text stands in front as a paragraph of its own; the variant with `### 맥락:` is for
    passages to read, not for instructions. Further exchanges follow after a blank line.
    """
    return Labelled(
        name="koalpaca",
        user="### 질문: ",
        assistant="### 답변:",
        stop=("###", "<|endoftext|>"),
        ai_labels=("### 답변",),
    )
