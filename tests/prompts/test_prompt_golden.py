"""Every format writes what its golden file holds, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm.conversation import Conversation
from lightkorllm.prompts.base import PromptFormat

GOLDEN = Path(__file__).parent / "golden"

_SYSTEM = "당신은 친절한 AI 챗봇입니다.\n짧게 답하세요."
_TALK = (
    Conversation.ask("세종대왕은 누구인가요?", system=_SYSTEM)
    .add("assistant", "조선의 네 번째 임금입니다.")
    .add("user", "무엇을 만들었나요?")
    .add("assistant", "훈민정음을 만들었습니다.\n1443년의 일입니다.")
)
CASES = {
    "question": Conversation.ask("세종대왕은 누구인가요?"),
    "system": Conversation.ask("세종대왕은 누구인가요?", system=_SYSTEM),
    "talk": _TALK.add("user", "고마워요!"),
    "training": _TALK,
    "hangul": Conversation.ask(
        "뷁! 안녕하세요 👋🏽👨‍👩‍👧\n\n오늘 할 일:\n- 꿈꾸기\t☁️\n- `ㅋㅋㅋ` 웃기"
    ),
}


def _read(path: Path) -> str:
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


@pytest.mark.parametrize("case", CASES)
def test_a_conversation_is_written_as_the_golden_file_has_it(
    case: str, format_id: str, prompt_format: PromptFormat
) -> None:
    text = prompt_format.render(CASES[case]).text

    assert text == _read(GOLDEN / format_id / f"{case}.txt")


def test_no_golden_file_is_left_over(format_id: str) -> None:
    assert {path.stem for path in (GOLDEN / format_id).glob("*.txt")} == set(CASES)
