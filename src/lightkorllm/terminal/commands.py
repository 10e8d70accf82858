"""The commands of a conversation, each by a Korean and an English name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from lightkorllm.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Command:
    """`/korean` is `/english`; `argument` is how its argument is told."""

    korean: str
    english: str
    argument: str
    meaning: str


COMMANDS = (
    Command("도움말", "help", "", "명령과 글쇠를 보여 줍니다"),
    Command("지시", "system", "[글]", "지시문을 보거나 바꿉니다. 없음이라고 쓰면 지웁니다"),
    Command("기록", "history", "", "지금까지의 대화를 보여 줍니다"),
    Command("되돌리기", "undo", "", "마지막 질문과 답을 지웁니다"),
    Command("다시", "retry", "", "마지막 질문에 다시 답합니다"),
    Command("설정", "set", "[이름 값]", "온도, 길이 따위를 보거나 바꿉니다"),
    Command("어댑터", "adapter", "[이름]", "어댑터를 보거나 고릅니다. 없음, 기본도 됩니다"),
    Command("비교", "compare", "[질문]", "어댑터가 있는 답과 없는 답을 나란히 보여 줍니다"),
    Command("저장", "save", "[파일]", "대화를 JSON 파일로 저장합니다"),
    Command("불러오기", "load", "파일", "저장한 대화를 불러옵니다"),
    Command("끝", "quit", "", "끝냅니다. Ctrl-D도 됩니다"),
)

NAMES = tuple(f"/{name}" for each in COMMANDS for name in (each.korean, each.english))

KEYS = (
    ("Enter", "보냅니다"),
    ("Alt-Enter", "줄을 바꿉니다. 줄 끝에 \\를 쓰고 Enter를 눌러도 됩니다"),
    ("Ctrl-C", "하던 답을 멈춥니다. 그때까지의 답은 남습니다"),
    ("Ctrl-D", "끝냅니다"),
    ("위, 아래 화살표", "전에 쓴 글을 부릅니다"),
    ("Tab", "명령 이름을 마저 적습니다"),
)


def parse(line: str) -> tuple[Command, str] | None:
    """The command of a line and its argument; None for words to the model.

    `//` at the start stands for a `/` that is meant for the model.
    Raises `BadRequest` for a command that does not exist.
    """
    if not line.startswith("/") or line.startswith("//"):
        return None
    name, _, argument = line[1:].partition(" ")
    for command in COMMANDS:
        if name.strip().casefold() in (command.korean, command.english):
            return command, argument.strip()
    close = difflib.get_close_matches(f"/{name}", NAMES, n=1)
    guess = f"혹시 {close[0]}인가요? " if close else "/도움말에 명령이 모두 있습니다. "
    raise BadRequest(
        "", f"그런 명령은 없습니다: /{name[:40]}. {guess}글로 보내려면 //로 시작해 주세요."
    )


def help_rows() -> list[tuple[str, str]]:
    """What `/도움말` shows: a name and its meaning each."""
    told = [(f"/{c.korean} {c.argument}".rstrip(), f"{c.meaning} (/{c.english})") for c in COMMANDS]
    return [*told, *KEYS]
