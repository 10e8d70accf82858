"""The Korean prompt of KULLM (nlpai-lab/KULLM, `templates/kullm.json`)."""

from __future__ import annotations

from lightkorllm.prompts._labelled import Labelled
from lightkorllm.prompts.base import PromptFormat, Settings


def build(settings: Settings) -> PromptFormat:
    """`{preamble}\\n\\n### 명령어:\\n{U}\\n\\n### 응답:\\n{A}`.

    A system text replaces the preamble. The variant with `### 입력:` is not used: a conversation
    has no second input. Further exchanges repeat the two blocks after a blank line.
    """
    return Labelled(
        name="kullm_ko",
        preamble="아래는 작업을 설명하는 명령어입니다. 요청을 적절히 완료하는 응답을 작성하세요.",
        user="### 명령어:\n",
        assistant="### 응답:\n",
        stop=("### 명령어:", "###"),
        ai_labels=("### 응답",),
    )
