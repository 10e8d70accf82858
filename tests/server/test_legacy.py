"""`/inferweb` and `/chatweb`: the original's routes, answered by scripted models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client import call, deltas, events
from lightkorllm.engines.echo import EchoEngine, endless, saying
from live import Serve

SEED = Path(__file__).parent / "seed"
ASK = {"input": "안녕?"}


def _seed(name: str) -> Any:
    return json.loads((SEED / f"{name}.json").read_text(encoding="utf-8"))


def _without_stray_space(answer: Any) -> Any:
    """The document's answers begin with the tokenizer's space; ours don't."""
    answer["result"] = answer["result"].removeprefix(" ")
    entries = answer["history"]["history"]
    entries[-1]["str"] = entries[-1]["str"].removeprefix(" ")
    return answer


@pytest.mark.parametrize("name", ["inferweb", "chatweb_1"])
def test_the_documented_exchanges_round_trip(serve: Serve, name: str) -> None:
    expected = _seed(f"{name}_response")
    live = serve(saying(expected["result"]))
    answer = call(live.port, "/" + name.partition("_")[0], _seed(f"{name}_request")).json
    assert {key: answer[key] for key in expected} == _without_stray_space(expected)


def test_the_documented_second_turn_round_trips_without_its_piece_of_a_stop_string(
    serve: Serve,
) -> None:
    expected = _seed("chatweb_2_response")
    live = serve(saying(expected["result"]))
    answer = call(live.port, "/chatweb", _seed("chatweb_2_request")).json
    said = "그렇군요. 기분이 좋아요."  # the document's own answer ends in half a stop string
    expected["result"] = expected["history"]["history"][-1]["str"] = said
    assert {key: answer[key] for key in expected} == expected


def test_the_documented_prompt_is_what_the_model_sees(serve: Serve) -> None:
    engine = EchoEngine(saying("네"))
    live = serve(engine=engine)
    body = _seed("chatweb_2_request")
    call(live.port, "/chatweb", body)
    first, second = body["history"]["history"]
    assert engine.prompts[-1] == (
        f"{body['instruction']['command']}\n\n"
        f"### 사용자:\n{first['str']}\n\n### AI:\n{second['str']}\n\n"
        f"### 사용자:\n{body['input']}\n\n### AI:\n"
    )


def test_an_answer_says_why_it_ended_and_what_it_used(serve: Serve) -> None:
    live = serve(saying("안", "녕"))
    answer = call(live.port, "/inferweb", ASK).json
    assert answer["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 2
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2


def test_everything_but_the_question_is_optional_and_null_is_absent(serve: Serve) -> None:
    live = serve(saying("네"))
    full = {"instruction": None, "history": None, "temperature": None, "stop": None, **ASK}
    assert call(live.port, "/chatweb", ASK).json == call(live.port, "/chatweb", full).json


@pytest.mark.case("S19")
@pytest.mark.parametrize("history", [{}, {"count": 0, "history": []}, {"history": None}, None])
def test_a_first_turn_has_an_empty_history(serve: Serve, history: object) -> None:
    body = {**ASK, "instruction": {"command": ""}, "history": history}
    answer = call(serve(saying("네")).port, "/chatweb", body)
    assert answer.status == 200
    assert answer.json["history"]["count"] == 1


@pytest.mark.parametrize(
    "user", ["### 사용자", "사용자", "user", "Human", "### 사용자:", "사용자："]
)
@pytest.mark.parametrize("ai", ["### AI", "AI", "assistant", "ai:"])
def test_labels_are_read_leniently_and_written_as_configured(
    serve: Serve, user: str, ai: str
) -> None:
    entries = [{"type": user, "str": "하나"}, {"type": ai, "str": "둘"}]
    body = {**ASK, "history": {"count": 1, "history": entries}}
    answer = call(serve(saying("네")).port, "/chatweb", body).json
    kinds = [entry["type"] for entry in answer["history"]["history"]]
    assert kinds == ["### 사용자", "### AI"] * 2


def test_configured_labels_are_used_in_prompt_and_history(serve: Serve) -> None:
    live = serve(saying("네"), human_str="### 학생", ai_str="### 선생님")
    body = {**ASK, "history": {"history": [{"type": "학생", "str": "하나"}]}}
    answer = call(live.port, "/chatweb", body).json
    assert [entry["type"] for entry in answer["history"]["history"]] == [
        "### 학생",
        "### 학생",
        "### 선생님",
    ]


@pytest.mark.case("S20")
@pytest.mark.parametrize("count", [77, 1.0])  # Godot reads every number as a float
def test_a_wrong_count_is_recomputed(serve: Serve, count: float) -> None:
    entries = [{"type": "user", "str": "하나"}, {"type": "ai", "str": "둘"}]
    body = {**ASK, "history": {"count": count, "history": entries}}
    assert call(serve(saying("네")).port, "/chatweb", body).json["history"]["count"] == 2


@pytest.mark.case("K27")
def test_hangul_leaves_as_utf8_in_answers_streams_and_errors(serve: Serve) -> None:
    live = serve(saying("안녕하세요"))
    bodies = [
        call(live.port, "/inferweb", ASK).body,
        call(live.port, "/inferweb", {**ASK, "stream": True}).body,
        call(live.port, "/inferweb", {**ASK, "안녕": 1}).body,
    ]
    for body in bodies:
        assert "안녕".encode() in body
        assert b"\\u" not in body


@pytest.mark.case("K12")
def test_decomposed_hangul_reaches_the_model_as_the_composed_one(serve: Serve) -> None:
    import unicodedata

    engine = EchoEngine(saying("네"))
    live = serve(engine=engine)
    for form in ("NFC", "NFD"):
        call(live.port, "/inferweb", {"input": unicodedata.normalize(form, "한국어 테스트")})
    assert engine.prompts[-1] == engine.prompts[-2]


@pytest.mark.case("K09")
def test_an_answer_is_cut_at_the_stop_string_wherever_it_sits(serve: Serve) -> None:
    live = serve(saying("합니다. 엾吃### 문단: 다음"))
    answer = call(live.port, "/inferweb", {**ASK, "stop": "###"}).json
    assert answer["result"] == "합니다. 엾吃"
    assert answer["finish_reason"] == "stop"


@pytest.mark.case("K10", "S01")
@pytest.mark.parametrize("size", range(1, 8))
def test_the_model_never_speaks_for_the_user(serve: Serve, size: int) -> None:
    text = "네.\n### 사용자: 다음 질문"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    live = serve(saying(*pieces), stop_str="없는 문자열")
    answer = call(live.port, "/chatweb", ASK).json
    assert answer["result"] == "네."
    assert answer["history"]["count"] == 1
    stream = call(live.port, "/chatweb", {**ASK, "stream": True}).body
    assert "".join(deltas(stream)) == "네."


@pytest.mark.case("K11")
def test_an_answer_that_begins_with_its_own_name_is_kept(serve: Serve) -> None:
    live = serve(saying("### AI: ", "안녕하세요"))
    answer = call(live.port, "/inferweb", {**ASK, "stop": ["### AI"]}).json
    assert answer["result"] == "안녕하세요"


@pytest.mark.case("K24")
def test_a_full_width_colon_ends_the_answer_too(serve: Serve) -> None:
    live = serve(saying("네.\n\n### 사용자：다음"), stop_str="### 사용자:")
    assert call(live.port, "/inferweb", ASK).json["result"] == "네."


@pytest.mark.case("K21")
def test_the_stray_first_space_goes_and_inner_indentation_stays(serve: Serve) -> None:
    live = serve(saying(" def f():", "\n    return '가'\n"))
    stream = call(live.port, "/inferweb", {**ASK, "stream": True}).body
    assert events(stream)[-1]["result"] == "def f():\n    return '가'"
    assert deltas(stream)[0][0] == "d"


@pytest.mark.case("K26")
def test_emoji_families_arrive_whole_and_little_by_little(serve: Serve) -> None:
    family = "👍🏻👨‍👩‍👧‍👦🎉" * 7
    data = family.encode()
    live = serve(saying(*[data[at : at + 3] for at in range(0, len(data), 3)]))
    stream = call(live.port, "/inferweb", {**ASK, "stream": True}).body
    assert "".join(deltas(stream)) == family
    assert len(deltas(stream)) > 10


@pytest.mark.case("K29", "S25")
def test_an_endless_model_is_cut_at_max_new_token(serve: Serve) -> None:
    live = serve(endless("그 "))
    answer = call(live.port, "/inferweb", {**ASK, "max_new_token": 5}).json
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    assert live.idle()


@pytest.mark.case("S25")
@pytest.mark.parametrize(
    ("script", "stop", "reason"),
    [(["가"] * 9, None, "length"), (["가"], None, "stop"), (["가", "끝", "나"], "끝", "stop")],
)
def test_streams_and_whole_answers_agree_on_why_they_ended(
    serve: Serve, script: list[str], stop: str | None, reason: str
) -> None:
    live = serve(saying(*script))
    body = {**ASK, "max_new_token": 5, "stop": stop}
    whole = call(live.port, "/inferweb", body).json
    streamed = events(call(live.port, "/inferweb", {**body, "stream": True}).body)[-1]
    assert whole["finish_reason"] == streamed["finish_reason"] == reason
    assert whole == streamed


@pytest.mark.case("S02")
def test_a_stream_sends_no_empty_pieces_while_it_holds_text_back(serve: Serve) -> None:
    live = serve(saying(*"안녕하세요. 반갑습니다. 무엇을 도와드릴까요?"))
    stream = call(
        live.port, "/inferweb", {**ASK, "stop": "스무 글자가 넘는 아주 긴 정지 문자열"}
    ).body
    assert "" not in deltas(stream)


@pytest.mark.case("S49", "S50")
@pytest.mark.parametrize(
    ("stop", "result"), [("나", "가"), (".", "가나"), ("\n", "가나. 다"), (["다", "나"], "가")]
)
def test_stop_strings_of_one_letter_or_a_newline_work(
    serve: Serve, stop: str | list[str], result: str
) -> None:
    live = serve(saying("가나. 다\n라"))
    assert call(live.port, "/inferweb", {**ASK, "stop": stop}).json["result"] == result


@pytest.mark.case("S30", "K22")
def test_a_long_history_loses_its_oldest_exchanges_in_the_prompt_only(serve: Serve) -> None:
    engine = EchoEngine(saying("네"), context_length=1024)
    live = serve(engine=engine)
    entries = [
        {"type": kind, "str": f"{number}번째 " + "가" * 20}
        for number in range(200)
        for kind in ("user", "ai")
    ]
    answer = call(
        live.port, "/chatweb", {**ASK, "max_new_token": 200, "history": {"history": entries}}
    ).json
    assert answer["history"]["count"] == 201
    assert len(answer["history"]["history"]) == 402
    assert 190 < answer["dropped_exchanges"] < 200
    assert answer["usage"]["prompt_tokens"] <= 1024 - 200
    assert "199번째" in engine.prompts[-1]
    assert engine.prompts[-1].startswith("### 사용자:\n" + f"{answer['dropped_exchanges']}번째")


@pytest.mark.case("S30")
def test_a_question_that_alone_is_too_long_is_refused_with_both_numbers(serve: Serve) -> None:
    live = serve(engine=EchoEngine(context_length=1024))
    answer = call(live.port, "/inferweb", {"input": "가" * 50_000})
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert "1,024토큰" in answer.error["message"]
    assert "150,0" in answer.error["message"]


def test_max_history_bounds_the_exchanges_in_the_prompt(serve: Serve) -> None:
    engine = EchoEngine(saying("네"))
    live = serve(engine=engine, max_history=1)
    entries = [{"type": kind, "str": kind + str(n)} for n in range(3) for kind in ("user", "ai")]
    answer = call(live.port, "/chatweb", {**ASK, "history": {"history": entries}}).json
    assert answer["dropped_exchanges"] == 2
    assert "user2" in engine.prompts[-1]
    assert "user1" not in engine.prompts[-1]


def test_beams_and_streaming_together_are_refused(serve: Serve) -> None:
    live = serve(saying("네"))
    answer = call(live.port, "/inferweb", {**ASK, "num_beams": 3, "stream": True})
    assert (answer.status, answer.error["param"]) == (400, "num_beams")
    assert call(live.port, "/inferweb", {**ASK, "num_beams": 3}).status == 200
