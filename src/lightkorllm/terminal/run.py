"""The whole of `lightkorllm chat`: who answers is opened, and then talked to."""

from __future__ import annotations

import sys
from contextlib import closing

from lightkorllm.terminal import interrupts, script
from lightkorllm.terminal.backend import Backend
from lightkorllm.terminal.options import TerminalOptions


def run(options: TerminalOptions) -> None:
    """Talk until the user leaves, or answer one question where there is no user."""
    if options.prompt is not None or not _is_terminal():
        question = script.question_of(options)
        with closing(_open(options)) as backend:
            script.answer(backend, options, question)
        return
    with interrupts.ending_on_signals():
        sys.stderr.write("" if options.url else "모델을 올리는 중입니다 …\n")
        with closing(_open(options)) as backend:
            talk(backend, options)


def talk(backend: Backend, options: TerminalOptions) -> None:
    """A conversation on this terminal."""
    from lightkorllm.terminal.commands import NAMES
    from lightkorllm.terminal.history import open_history
    from lightkorllm.terminal.line import LineEditor
    from lightkorllm.terminal.screen import Screen
    from lightkorllm.terminal.session import Session

    screen = Screen()
    session = Session(
        backend,
        screen,
        system=options.system,
        settings=options.settings,
        adapter=options.adapter,
    )
    editor = LineEditor(open_history(), names=NAMES)
    session.greet()
    while not session.over:
        try:
            line = editor.read()
        except EOFError:
            return
        except KeyboardInterrupt:
            if editor.was_empty:
                screen.note("끝내려면 Ctrl-D를 누르거나 /끝이라고 쓰세요.")
            continue
        try:
            session.handle(line)
        except KeyboardInterrupt:  # the second in a row: what was going on is given up
            screen.say("", "멈추었습니다. 마지막 질문은 /다시로 물을 수 있습니다.")


def _open(options: TerminalOptions) -> Backend:
    if options.url is not None:
        from lightkorllm.terminal.remote import open_remote

        return open_remote(options.url, key=options.key)
    from lightkorllm.terminal.local import open_local

    return open_local(options)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
