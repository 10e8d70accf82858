"""터미널에서 모델과 이야기합니다."""

from __future__ import annotations

from collections.abc import Sequence


def run(argv: Sequence[str], *, prog: str) -> None:
    """Talk until the user leaves; `argv` are the flags of `terminal.options.TerminalOptions`."""
    from lightkorllm.cli import _logging
    from lightkorllm.options import load
    from lightkorllm.terminal.options import TerminalOptions

    options = load(TerminalOptions, argv, prog=prog)
    _logging.to_stderr("warning", style="plain")

    from lightkorllm.terminal import run as terminal

    terminal.run(options)
