"""What commands do to a conversation."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from lightkorllm.engines.echo import saying
from lightkorllm.errors import BadRequest, EngineFailed
from lightkorllm.generation import NO_ADAPTER, GenerationRequest, SamplingParams
from lightkorllm.terminal import commands
from talking import Talk

BROKEN = EngineFailed("엔진이 멈췄습니다.")


def test_an_answer_is_shown_with_its_numbers_and_kept(talk: Talk) -> None:
    talking = talk(saying("서울", "입니다", "."))
    shown = talking.says("한국의 수도는?")
    assert shown.startswith("AI> 서울입니다.\n[3토큰 · ")
    assert "문맥 " in shown
    assert "/8,192 (" in shown
    assert talking.says("/기록") == "나> 한국의 수도는?\nAI> 서울입니다.\n"


def test_the_next_question_has_what_was_said_before(talk: Talk) -> None:
    talking = talk(saying("네."))
    talking.says("안녕?", "또 물을게.")
    prompt = talking.requests[-1].prompt
    assert prompt.index("안녕?") < prompt.index("네.") < prompt.index("또 물을게.")


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.english)
def test_every_command_has_two_names_and_is_told(command: commands.Command, talk: Talk) -> None:
    for name in (command.korean, command.english, command.english.upper()):
        assert commands.parse(f"/{name}  말 하나 ") == (command, "말 하나")
    told = talk().says("/도움말")
    assert f"/{command.korean}" in told
    assert f"/{command.english})" in told


@pytest.mark.parametrize(("line", "guess"), [("/도움", "/도움말"), ("/sytem 글", "/system")])
def test_a_mistyped_command_is_not_sent_and_the_near_one_is_named(line: str, guess: str) -> None:
    with pytest.raises(BadRequest, match=guess):
        commands.parse(line)


def test_two_slashes_send_one(talk: Talk) -> None:
    talking = talk()
    talking.says("//etc/hosts가 뭐야?")
    assert "\n/etc/hosts가 뭐야?\n" in talking.requests[0].prompt


def test_the_instruction_is_told_changed_and_taken_away(talk: Talk) -> None:
    talking = talk()
    assert "없음" in talking.says("/지시")
    talking.says("/지시 반말로 답해.", "안녕?")
    assert talking.requests[-1].prompt.startswith("반말로 답해.\n\n")
    talking.says("/system 없음", "안녕?")
    assert not talking.requests[-1].prompt.startswith("반말")


def test_the_last_exchange_is_taken_back(talk: Talk) -> None:
    talking = talk()
    talking.says("하나", "둘")
    assert talking.says("/되돌리기") == "지웠습니다: 둘\n"
    assert "둘" not in talking.says("/기록")
    talking.says("/undo")
    assert talking.says("/undo").startswith("오류: 되돌릴 질문이 없습니다")


def test_the_last_question_is_answered_anew(talk: Talk) -> None:
    answers = iter(["첫째 답", "둘째 답"])
    talking = talk(lambda request: [next(answers)])
    talking.says("질문", "/다시")
    assert talking.says("/기록") == "나> 질문\nAI> 둘째 답\n"
    assert talking.requests[0].prompt == talking.requests[1].prompt
    assert talk().says("/다시").startswith("오류: 아직 질문이 없습니다")


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("온도", "0.3", "temperature"),
        ("temperature", "0.0", "temperature"),
        ("길이", "7", "max_tokens"),
        ("씨앗", "42", "seed"),
        ("TOP_K", "5", "top_k"),
    ],
)
def test_settings_reach_the_engine_and_can_be_taken_back(
    talk: Talk, name: str, value: str, param: str
) -> None:
    talking = talk()
    assert value in talking.says(f"/설정 {name} {value}")
    talking.says("하나", f"/set {name}=기본", "둘")
    first, second = (getattr(request.params, param) for request in talking.requests)
    assert str(first) == value
    assert second == getattr(SamplingParams(), param)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("/설정 온도 9", "0 이상 2 이하"),
        ("/설정 길이 0", "max_new_token"),
        ("/설정 길이 많이", "정수"),
        ("/설정 온도 따뜻하게", "숫자"),
        ("/설정 온도 nan", "0 이상"),
        ("/설정 습도 3", "온도(temperature)"),
        ("/설정 온도", "/설정 온도 값"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_changes(talk: Talk, line: str, word: str) -> None:
    talking = talk()
    before = talking.says("/설정")
    assert word in talking.says(line)
    assert talking.says("/설정") == before


def test_adapters_are_listed_and_chosen(talk: Talk) -> None:
    talking = talk(adapters=("반말", "존댓말"), default_adapter="반말")
    assert talking.says("/어댑터") == "지금 어댑터: 반말 (있는 것: 반말, 존댓말)\n"
    talking.says("하나", "/어댑터 존댓말", "둘", "/adapter 없음", "셋", "/어댑터 기본", "넷")
    assert [request.adapter for request in talking.requests] == ["반말", "존댓말", None, "반말"]
    assert "반말, 존댓말" in talking.says("/어댑터 사투리")


@pytest.mark.parametrize("columns", [100, 40])
def test_two_answers_stand_side_by_side_and_are_drawn_alike(
    talk: Talk, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    talking = talk(
        lambda request: ["반가워!" if request.adapter else "반갑습니다."],
        adapters=("반말",),
    )
    lines = talking.says("/비교 안녕?").splitlines()
    both = [line for line in lines if "반가워!" in line and "반갑습니다." in line]
    assert len(both) == (columns == 100)
    assert any("어댑터 반말" in line for line in lines)
    with_it, without = talking.requests
    assert (with_it.adapter, without.adapter) == ("반말", None)
    assert with_it.params.seed == without.params.seed is not None
    assert "아직" in talking.says("/기록")


def test_the_last_question_is_compared_where_none_is_given(talk: Talk) -> None:
    talking = talk(adapters=("반말",))
    talking.says("안녕?", "/어댑터 없음", "/비교")
    assert {request.prompt for request in talking.requests} == {talking.requests[0].prompt}
    assert [request.adapter for request in talking.requests] == [None, "반말", None]
    assert talking.session.adapter == NO_ADAPTER


def test_what_cannot_be_compared_says_why(talk: Talk) -> None:
    assert "--peft_lora_dir" in talk().says("/비교 안녕?")
    assert "물을지" in talk(adapters=("반말",)).says("/비교")
    assert "반말, 존댓말" in talk(adapters=("반말", "존댓말")).says("/비교 안녕?")
    assert "멈췄습니다" in talk(saying(BROKEN), adapters=("반말",)).says("/비교 안녕?")


def test_ctrl_c_stops_a_comparison_and_shows_what_there_is(talk: Talk) -> None:
    def script(request: GenerationRequest) -> Iterator[str]:
        yield "반가"
        os.kill(os.getpid(), signal.SIGINT)
        yield "워"
        yield "!"

    talking = talk(script, adapters=("반말",))
    shown = talking.says("/비교 안녕?")
    assert "반가워 (멈춤)" in shown
    assert len(talking.requests) == 1


def test_a_second_ctrl_c_does_not_wait(talk: Talk) -> None:
    def script(request: GenerationRequest) -> Iterator[str]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        yield "네"

    talking = talk(script)
    with pytest.raises(KeyboardInterrupt):
        talking.says("안녕?")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_answer_that_breaks_off_stays_marked_with_its_reason(talk: Talk) -> None:
    talking = talk(saying("서울", "은 ", BROKEN))
    assert talking.says("수도는?").startswith("AI> 서울은 (멈춤)\n오류: 엔진이 멈췄습니다.\n")
    assert talking.says("/기록") == "나> 수도는?\nAI> 서울은 (멈춤)\n"


def test_a_question_without_a_word_of_an_answer_is_asked_again_by_retry(talk: Talk) -> None:
    scripts = iter([[BROKEN], ["네."]])
    talking = talk(lambda request: next(scripts))
    assert "오류: 엔진이 멈췄습니다." in talking.says("거기 있어?")
    assert "아직" in talking.says("/기록")
    assert "AI> 네." in talking.says("/다시")
    assert talking.says("/기록") == "나> 거기 있어?\nAI> 네.\n"


def test_a_cut_answer_and_left_out_exchanges_are_told(talk: Talk) -> None:
    talking = talk(saying(*"가나다라마"), context_length=220)
    assert "길이 제한" in talking.says("/설정 길이 2", "안녕?")
    assert "오래된 문답 1개" in talking.says("가" * 55)


def test_a_question_that_is_too_long_is_refused_with_both_numbers(talk: Talk) -> None:
    shown = talk(context_length=100).says("가" * 200)
    assert shown.startswith("오류: 질문이 너무 깁니다")
    assert "100토큰" in shown


def test_what_a_terminal_would_obey_is_not_shown(talk: Talk) -> None:
    shown = talk(saying("\x1b]0;제목\x07", "\x1b[2J", "하\x9b나\r\x08\n\t둘")).says("?")
    assert shown.startswith("AI> ]0;제목[2J하나\n\t둘\n")
