"""One question without a terminal: its answer on standard output and nothing else."""

from __future__ import annotations

import sys

from lightkorllm.errors import OptionError
from lightkorllm.terminal.answering import Answering
from lightkorllm.terminal.backend import Backend
from lightkorllm.terminal.options import TerminalOptions
from lightkorllm.terminal.screen import showable
from lightkorllm.terminal.talk import Talk


def question_of(options: TerminalOptions) -> str:
    """`--prompt`, or all of standard input. Raises `OptionError` where there is nothing."""
    question = _standard_input() if options.prompt is None else options.prompt
    if not question.strip():
        raise OptionError("--prompt", "물을 것이 없습니다. 질문을 주거나 표준 입력으로 보내 주세요")
    return question.strip()


def answer(backend: Backend, options: TerminalOptions, question: str) -> None:
    """Write the answer as it comes. Raises what breaks it off."""
    talk = Talk(options.system).add("user", question)
    obeyed = sys.stdout.isatty()
    answering = Answering(backend.ask(talk.conversation, options.settings, adapter=options.adapter))
    for piece in answering:
        sys.stdout.write(showable(piece) if obeyed else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    sys.stdout.flush()
    if answering.fault is not None:
        raise answering.fault
    if answering.finish_reason == "length":
        sys.stderr.write("답이 길이 제한에서 잘렸습니다. --max_new_token을 늘려 주세요.\n")


def _standard_input() -> str:
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        sys.stderr.write("질문을 쓰고 새 줄에서 Ctrl-D를 누르세요(Windows는 Ctrl-Z와 Enter).\n")
        return sys.stdin.read()
    return _decoded(sys.stdin.buffer.read())


def _decoded(data: bytes) -> str:
    """Text in whatever Korean programs write: UTF-8, UTF-16 with a mark, or CP949."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise OptionError("표준 입력", "UTF-8도 CP949도 아니거나 손상된 글입니다")
