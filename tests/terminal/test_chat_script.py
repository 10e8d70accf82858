"""`lightkorllm chat` in scripts: the answer on standard output and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lightkorllm.engines.echo import Pause, endless, saying
from lightkorllm.errors import EngineFailed
from live import Serve

SHIM = Path(__file__).parents[2] / "script" / "local" / "qpt-q-load-peft.py"
CHAT = ["-m", "lightkorllm", "chat"]


def chat(
    *flags: str, data: bytes = b"", python: list[str] = CHAT, **environ: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *python, *flags],
        input=data,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environ},
        check=False,
    )


def test_only_the_answer_is_written() -> None:
    done = chat("--model", "echo", "--prompt", "오늘 날씨 어때?")
    assert (done.returncode, done.stdout.decode()) == (0, "오늘 날씨 어때?\n")
    assert done.stderr == b""


@pytest.mark.case("K15", "K18")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
def test_standard_input_is_one_question_in_any_encoding(encoding: str) -> None:
    done = chat("--model", "echo", data="첫 줄\n똠방각하가 뭐야?\n".encode(encoding))
    assert (done.returncode, done.stdout.decode()) == (0, "똠방각하가 뭐야?\n")


def test_a_loop_over_lines_keeps_its_lines() -> None:
    """With `--prompt` standard input is somebody else's."""
    command = (
        f"while read line; do {sys.executable} -m lightkorllm chat --model echo"
        ' --prompt "$line"; done'
    )
    done = subprocess.run(
        ["sh", "-c", command], input="하나\n둘\n".encode(), capture_output=True, check=False
    )
    assert done.stdout.decode() == "하나\n둘\n"


@pytest.mark.case("K16")
@pytest.mark.parametrize("python", [CHAT, [str(SHIM)]], ids=["command", "script"])
def test_a_console_without_a_character_for_it_shows_a_question_mark(python: list[str]) -> None:
    done = chat(
        "--model", "echo", "--prompt", "좋아 — 👋 √", python=python, PYTHONIOENCODING="cp949"
    )  # fmt: skip
    assert (done.returncode, done.stdout.decode("cp949")) == (0, "좋아 ? ? √\n")
    assert done.stderr == b""


@pytest.mark.parametrize("flags", [["--prompt", " "], ["--prompt", ""], []])
def test_nothing_to_ask_is_told(flags: list[str]) -> None:
    done = chat("--model", "echo", *flags)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "물을 것이 없습니다" in done.stderr.decode()


def test_input_that_is_no_text_is_told() -> None:
    done = chat("--model", "echo", data=b"\x89PNG\r\n\x1a\n\xff\xff")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("오류: 표준 입력")


def test_an_answer_that_breaks_off_ends_with_1_and_the_reason(serve: Serve) -> None:
    port = serve(saying("서울", EngineFailed("엔진이 멈췄습니다."))).port
    done = chat("--url", f"http://127.0.0.1:{port}", "--prompt", "수도는?")
    assert (done.returncode, done.stdout.decode()) == (1, "서울\n")
    assert done.stderr.decode() == "오류: 엔진이 멈췄습니다.\n"


def test_no_server_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = chat("--url", f"http://127.0.0.1:{taken.getsockname()[1]}", "--prompt", "?")
    assert (done.returncode, done.stdout) == (2, b"")
    assert len(done.stderr.decode().splitlines()) == 1


def test_a_cut_answer_is_told_beside_the_answer() -> None:
    done = chat("--model", "echo", "--prompt", "하나 둘 셋", "--max_new_token", "2")
    assert done.stdout.decode() == "하나 둘\n"
    assert "--max_new_token" in done.stderr.decode()


def test_a_reader_that_leaves_is_no_fault(serve: Serve) -> None:
    live = serve(endless("줄\n"))
    url = f"http://127.0.0.1:{live.port}"
    command = f"{sys.executable} -m lightkorllm chat --url {url} --prompt ? --max_new_token 99999"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 2; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.decode(), done.stderr) == (141, "줄\n줄\n", b"")


def test_ctrl_c_ends_with_130_and_without_a_word(serve: Serve) -> None:
    live = serve(saying("하나", Pause(60)))
    program = subprocess.Popen(
        [sys.executable, *CHAT, "--url", f"http://127.0.0.1:{live.port}", "--prompt", "?"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout
    first = program.stdout.read(len("하나".encode()))
    program.send_signal(signal.SIGINT)
    rest, errors = program.communicate(timeout=60)
    assert (program.returncode, first.decode(), rest.strip(), errors) == (130, "하나", b"", b"")
    assert live.idle()


def test_no_line_editor_is_loaded() -> None:
    program = (
        "import sys; from lightkorllm import cli; "
        "cli.main(['chat', '--model', 'echo', '--prompt', '네']); "
        "sys.exit('prompt_toolkit' in sys.modules)"
    )
    assert chat(python=["-c", program]).returncode == 0


@pytest.mark.model
def test_the_embedded_model_answers(embedded_gguf: Path) -> None:
    done = chat("--prompt", "대한민국의 수도는?", "--temperature", "0", "--max_new_token", "12")
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip()
    assert "�" not in done.stdout.decode()
