"""The command line: one command one module, imported only when asked for."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import sys
from collections.abc import Sequence

from lightkorllm import __version__

_HELP = "사용법: lightkorllm <명령> [옵션]\n\n명령:\n{commands}\n\n명령마다 --help 가 있습니다.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors are one Korean sentence on stderr and code 2 or 1."""
    _say_what_can_be_said()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-V"], ["--version"]):
        print(f"lightkorllm {__version__}")
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(), end="")
        return 0 if arguments else 2
    name = arguments[0]
    if name not in _commands():
        sys.stderr.write(f"그런 명령은 없습니다: {name}\n\n{_help()}")
        return 2
    return run_command(name, arguments[1:], prog=f"lightkorllm {name}")


def run_command(name: str, argv: Sequence[str], *, prog: str) -> int:
    """Run command `name`; errors become one sentence and an exit code."""
    from lightkorllm.errors import LightKorError, SetupError

    _say_what_can_be_said()
    module = importlib.import_module(f"lightkorllm.cli.{name}")
    try:
        module.run(argv, prog=prog)
    except LightKorError as error:
        sys.stderr.write(f"오류: {error.message}\n")
        return 2 if isinstance(error, SetupError) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _end_unheard()
    return 0


def _end_unheard() -> int:
    """Who read our output has left, as `head` does: end without a word, and as programs do."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return 141


def _say_what_can_be_said() -> None:
    """A console that has no such character shows `?`, and the command goes on."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _commands() -> list[str]:
    names = (found.name for found in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def _help() -> str:
    lines = []
    for name in _commands():
        module = importlib.import_module(f"lightkorllm.cli.{name}")
        lines.append(f"  {name:<12}{(module.__doc__ or '').strip().splitlines()[0]}")
    return _HELP.format(commands="\n".join(lines))
