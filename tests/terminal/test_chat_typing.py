"""`lightkorllm chat` under a pseudo-terminal: Hangul, keys, sizes, signals."""

from __future__ import annotations

import os
import signal
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightkorllm.engines.echo import Pause, endless, saying
from live import Serve

pytest.importorskip("termios")

from pseudo_terminal import (
    ALT_ENTER,
    BACKSPACE,
    CTRL_C,
    CTRL_D,
    ENTER,
    TAB,
    UP,
    PseudoTerminal,
)

Open = Callable[..., PseudoTerminal]
ECHO = ("--model", "echo")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Starts `lightkorllm chat` with flags, and waits until it asks for words."""
    started: list[PseudoTerminal] = []

    def start(*flags: str, **options: object) -> PseudoTerminal:
        environ = {"XDG_STATE_HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8", **options}
        terminal = PseudoTerminal("-m", "lightkorllm", "chat", *flags, **environ)  # type: ignore[arg-type]
        started.append(terminal)
        terminal.wait_for_prompt()
        return terminal

    yield start
    for terminal in started:
        terminal.close()


def _url(serve: Serve, *steps: object) -> tuple[str, str]:
    return "--url", f"http://127.0.0.1:{serve(saying(*steps)).port}"  # type: ignore[arg-type]


def _at(terminal: PseudoTerminal, column: int) -> None:
    """Wait until the cursor stands in a column: each syllable is two wide."""
    end = time.monotonic() + 60
    while terminal.cursor[0] != column:
        assert time.monotonic() < end, (terminal.cursor, terminal.shown)
        time.sleep(0.02)


def test_hangul_is_typed_byte_by_byte_and_erased_by_the_syllable(opened: Open) -> None:
    terminal = opened(*ECHO)
    _at(terminal, 4)
    terminal.piecewise("값이 얼마예욥")
    terminal.wait_for("나> 값이 얼마예욥")
    _at(terminal, 4 + 13)
    terminal.type(BACKSPACE)
    terminal.wait_until_gone("욥")
    _at(terminal, 4 + 11)
    terminal.type("요?", ENTER)
    terminal.wait_for("AI> 값이 얼마예요?")
    terminal.wait_for_prompt()


def test_jamo_that_come_one_by_one_become_syllables(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type(unicodedata.normalize("NFD", "똠방각하"))
    terminal.wait_for("나> 똠방각하")
    _at(terminal, 4 + 8)
    terminal.type(BACKSPACE, "하!", ENTER)
    terminal.wait_for("AI> 똠방각하!")


def test_lines_are_broken_by_alt_enter_and_by_a_backslash(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type("첫째", ALT_ENTER, "둘째\\", ENTER, "셋째", ENTER)
    terminal.wait_for("AI> 셋째")
    terminal.type("/기록", ENTER)
    terminal.wait_for("나> 첫째\n    둘째\n    셋째\nAI> 셋째")


def test_pasted_lines_are_one_question(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type("\x1b[200~표를 봐 줘.\r\n하나,둘\r\n\x1b[201~", ENTER)
    terminal.wait_for("AI> 하나,둘")
    terminal.wait_for_prompt()


def test_names_of_commands_are_completed(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type("/되", TAB)
    terminal.wait_for("나> /되돌리기")
    terminal.type(ENTER)
    terminal.wait_for("되돌릴 질문이 없습니다")


def test_what_was_typed_is_there_the_next_time_and_only_for_its_owner(
    opened: Open, tmp_path: Path
) -> None:
    first = opened(*ECHO)
    first.type("어제 물은 것", ENTER)
    first.wait_for("AI> 어제 물은 것")
    first.wait_for_prompt()
    first.type(CTRL_D)
    assert first.code() == 0
    (file,) = tmp_path.rglob("chat_history")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = opened(*ECHO)
    second.type(UP)
    second.wait_for("나> 어제 물은 것")


def test_without_a_place_for_the_history_one_can_talk(opened: Open, tmp_path: Path) -> None:
    nowhere = tmp_path / "파일"
    nowhere.write_text("", encoding="utf-8")
    terminal = opened(*ECHO, XDG_STATE_HOME=str(nowhere))
    terminal.type("안녕?", ENTER)
    terminal.wait_for("AI> 안녕?")


def test_a_new_size_in_the_middle_of_a_line_changes_nothing_of_it(opened: Open) -> None:
    terminal = opened(*ECHO, columns=60)
    terminal.type("가나다라마바사아자차카타파하")
    terminal.wait_for("카타파하")
    terminal.resize(20, 30)
    terminal.type("!")
    terminal.wait_for("나> 가나다라마바사아\n    자차카타파하!")
    _at(terminal, 4 + 13)
    terminal.type(BACKSPACE, "?", ENTER)
    terminal.wait_for("하?\n[1토큰")
    terminal.resize(80, 30)
    terminal.wait_for_prompt()
    terminal.type("/기록", ENTER)
    terminal.wait_for("AI> 가나다라마바사아자차카타파하?")


def test_ctrl_c_stops_the_answer_and_what_was_said_stays(opened: Open, serve: Serve) -> None:
    live = serve(endless("네 "))
    terminal = opened("--url", f"http://127.0.0.1:{live.port}", "--max_new_token", "100000000")
    terminal.type("언제까지?", ENTER)
    terminal.wait_for("네 네 네 네")
    assert not terminal.echoes()
    terminal.type("다음 말", CTRL_C)
    terminal.wait_for("(멈춤)")
    assert live.idle()
    terminal.wait_for("토큰/초")
    shown = terminal.wait_for("나> ")
    assert "다음 말" not in shown.split("(멈춤)")[0]
    terminal.type(CTRL_D)
    assert terminal.popen.poll() is None


def test_what_is_typed_during_an_answer_waits_for_the_next_prompt(
    opened: Open, serve: Serve
) -> None:
    terminal = opened(*_url(serve, "네", Pause(2), "."))
    terminal.type("안녕?", ENTER)
    terminal.wait_for("AI> 네")
    terminal.type("미리 쓴 말")
    terminal.wait_for("AI> 네.\n")
    terminal.wait_for("나> 미리 쓴 말")


def test_ctrl_c_before_the_first_word_withdraws_the_question(opened: Open, serve: Serve) -> None:
    terminal = opened(*_url(serve, Pause(60), "네"))
    terminal.type("거기 누구?", ENTER)
    terminal.wait_for("AI>")
    time.sleep(0.5)
    terminal.type(CTRL_C)
    terminal.wait_for("/다시")
    terminal.type("/기록", ENTER)
    terminal.wait_for("아직 나눈 말이 없습니다")


def test_ctrl_c_at_the_prompt_clears_the_line_and_ctrl_d_leaves(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type("쓰다가 만 것")
    terminal.wait_for("쓰다가 만 것")
    terminal.type(CTRL_C)
    terminal.wait_for_prompt()
    assert "끝내려면" not in terminal.shown
    terminal.type(CTRL_C)
    terminal.wait_for("끝내려면 Ctrl-D")
    terminal.wait_for_prompt()
    terminal.type(CTRL_D)
    assert terminal.code() == 0
    assert terminal.echoes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("answering", [True, False], ids=["answering", "asking"])
def test_a_terminal_is_left_as_it_was(
    opened: Open, serve: Serve, number: signal.Signals, answering: bool
) -> None:
    terminal = opened(*_url(serve, "네", Pause(60)))
    if answering:
        terminal.type("안녕?", ENTER)
        terminal.wait_for("AI> 네")
    os.kill(terminal.popen.pid, number)
    assert terminal.code() == 128 + number
    assert terminal.echoes()
    assert "Traceback" not in terminal.shown


def test_a_server_that_stops_is_one_sentence_and_the_talk_goes_on(
    opened: Open, serve: Serve
) -> None:
    live = serve(saying("네."))
    terminal = opened("--url", f"http://127.0.0.1:{live.port}")
    terminal.type("있어?", ENTER)
    terminal.wait_for("AI> 네.")
    terminal.wait_for_prompt()
    live.door.stop()
    terminal.type("아직 있어?", ENTER)
    terminal.wait_for("오류: http://127.0.0.1")
    terminal.wait_for_prompt()
    terminal.type("/기록", ENTER)
    shown = terminal.wait_for("나> 있어?\nAI> 네.")
    assert "Traceback" not in shown


@pytest.mark.case("K16")
def test_a_cp949_terminal_is_typed_into_and_shown_to(opened: Open, serve: Serve) -> None:
    terminal = opened(
        *_url(serve, "좋아", " — ", "👋", " 뷁"), encoding="cp949", PYTHONIOENCODING="cp949"
    )
    terminal.piecewise("값은?")
    terminal.wait_for("나> 값은?")
    terminal.type(ENTER)
    terminal.wait_for("AI> 좋아 ? ? 뷁")
    terminal.wait_for_prompt()
    terminal.type("/비교", ENTER)
    terminal.wait_for("오류: 견줄 어댑터가 없습니다.")
    terminal.type("/끝", ENTER)
    assert terminal.code() == 0


def test_bytes_that_are_no_character_do_no_harm(opened: Open) -> None:
    terminal = opened(*ECHO)
    terminal.type(b"\xea\xb0", "나", b"\xff", ENTER)
    terminal.wait_for("AI> ")
    terminal.wait_for("토큰")
    assert "Traceback" not in terminal.shown


@pytest.mark.model
def test_the_embedded_model_is_talked_to(opened: Open, embedded_gguf: Path) -> None:
    terminal = opened("--temperature", "0", "--max_new_token", "12", "--context_length", "512")
    terminal.type("대한민국의 수도는?", ENTER)
    terminal.wait_for("/512 (", within=120)
    terminal.wait_for_prompt()
    terminal.type("/끝", ENTER)
    assert terminal.code() == 0
