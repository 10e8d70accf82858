"""The prompt of Stanford Alpaca, which many fine-tuned LLaMA models use."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings

_PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)


def build(settings: Settings) -> PromptFormat:
    """`{preamble}\\n\\n### Instruction:\\n{U}\\n\\n### Response:\\n{A}`.

    A system text replaces the preamble. The variant with `### Input:` is not used: a conversation
    has no second input. Further exchanges repeat the two blocks after a blank line.
    """
    return Labelled(
        name="alpaca",
        preamble=_PREAMBLE,
        user="### Instruction:\n",
        assistant="### Response:\n",
        stop=("### Instruction:",),
        ai_labels=("### Response",),
    )
