"""The bilingual prompt of KULLM-Polyglot v2 (nlpai-lab)."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings

_PREAMBLE = (
    "Below is an instruction that describes a task.\n"
    "아래는 작업을 설명하는 명령어입니다.\n\n"
    "Write a response that appropriately completes the request.\n"
    "명령어에 따른 요청을 적절히 완료하는 응답을 작성하세요."
)


def build(settings: Settings) -> PromptFormat:
    """`{preamble}\\n\\n### Instruction(명령어):\\n{U}\\n\\n### Response(응답):{A}`.

    A system text replaces the preamble. The variant with `### Input(입력):` is not used: a
    conversation has no second input. Further exchanges repeat the blocks after a blank line.
    """
    return Labelled(
        name="kullm_bi",
        preamble=_PREAMBLE,
        user="### Instruction(명령어):\n",
        assistant="### Response(응답):",
        stop=("### Instruction", "###"),
        ai_labels=("### Response(응답)",),
    )
