"""The command line: commands found by their files, errors in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lightkorllm import __version__, cli


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "serve" in capsys.readouterr().out
    assert cli.main([]) == 2


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lightkorllm {__version__}\n"


@pytest.mark.parametrize("name", ["seve", "_logging", "../serve", "os"])
def test_an_unknown_command_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name]) == 2
    assert name in capsys.readouterr().err


def test_an_error_is_one_korean_sentence_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--model", "없는.gguf"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("오류: 모델을 찾을 수 없습니다: 없는.gguf")


CONSOLES: dict[str, tuple[list[str], dict[str, str]]] = {
    "korean windows": ([], {"PYTHONIOENCODING": "cp949", "LC_ALL": "C"}),
    "no locale": (["-X", "utf8=0"], {"LC_ALL": "C"}),
}
HELP = [["--help"], *([name, "--help"] for name in cli._commands())]
REFUSED = [["serve", "--model", "없음"], ["data", "없음"], ["export", "없음"]]


@pytest.mark.case("K14", "K16")
@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("argv", [*HELP, *REFUSED], ids=" ".join)
def test_every_command_speaks_on_every_console(argv: list[str], console: str) -> None:
    flags, environ = CONSOLES[console]
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run(
        [*command, *flags, "-m", "lightkorllm", *argv],
        capture_output=True,
        env={**environ, "PATH": ""},
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if "--help" in argv else 2)
    assert (done.stdout + done.stderr).decode(environ.get("PYTHONIOENCODING", "ascii"))
