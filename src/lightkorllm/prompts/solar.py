"""The prompt of SOLAR-10.7B-Instruct (upstage)."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings


def build(settings: Settings) -> PromptFormat:
    """`### System:\\n{S}\\n\\n### User:\\n{U}\\n\\n### Assistant:\\n{A}`; no system, no block."""
    return Labelled(
        name="solar",
        system="### System:\n",
        user="### User:\n",
        assistant="### Assistant:\n",
        stop=("</s>", "### User:"),
        ai_labels=("### Assistant",),
    )
