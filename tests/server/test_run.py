"""The server as a process: started by its command, stopped by signals, on the real model."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from client import Answer, call, deltas, events, received, send_raw
from process import Process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start() -> Iterator[type[Process]]:
    started: list[Process] = []

    class Started(Process):
        def __init__(self, *flags: str, command: list[str] | None = None, **environ: str) -> None:
            super().__init__(*flags, command=command, **environ)
            started.append(self)

    yield Started
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def real() -> Iterator[Process]:
    """One server with the real embedded model, for the tests that only ask it."""
    process = Process("--context_length", "1024").wait_until_ready()
    yield process
    assert process.end() == 0


def _ask(process: Process, route: str = "/inferweb", **body: object) -> Answer:
    return call(process.port, route, {"input": "안녕? 너는 누구야?", **body}, timeout=120)


def _is_korean(text: str) -> bool:
    letters = [char for char in text if char.isalpha()]
    return sum("가" <= char <= "힣" for char in letters) > len(letters) / 2


@pytest.mark.model
@pytest.mark.parametrize("route", ["/inferweb", "/chatweb"])
def test_the_real_model_answers_in_korean_letters(real: Process, route: str) -> None:
    body = {
        "instruction": {"command": "친절하게 한국어로 답하세요."},
        "input": "봄에 피는 꽃을 소개해 주세요.",
        "temperature": 0,
        "max_new_token": 48,
    }
    answer = call(real.port, route, body)
    assert answer.status == 200
    assert _is_korean(answer.json["result"]), answer.json["result"]


QUESTIONS = [
    "한국의 수도는 어디인가요?",
    "봄에 피는 꽃을 알려 주세요.",
    "김치찌개는 어떻게 끓이나요?",
    "세종대왕은 어떤 분인가요?",
    "오늘 기분이 우울해요.",
    "자기소개를 해 주세요.",
    "제주도에서 가 볼 만한 곳은?",
    "하늘은 왜 파란가요?",
    "좋은 책을 추천해 주세요.",
    "파이썬으로 무엇을 할 수 있나요?",
    "가냘프다는 무슨 뜻인가요?",
    "커피와 차는 어떻게 다른가요?",
    "운동을 꾸준히 하려면?",
    "설날에는 무엇을 먹나요?",
    "고양이를 처음 키우는데 무엇이 필요할까요?",
    "면접에서 떨지 않는 방법은?",
    "비 오는 날 듣기 좋은 노래는?",
    "한글은 누가 만들었나요?",
    "지구 온난화란 무엇인가요?",
    "뷁이라는 글자를 써 보세요. 👍🏻",
]


@pytest.mark.model
@pytest.mark.case("K01", "K03", "K04")
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_streamed_answer_is_whole_and_equals_the_one_given_at_once(
    real: Process, question: str
) -> None:
    body = {"input": question, "temperature": 0, "seed": 1, "max_new_token": 40}
    time.sleep(0.2)  # an answer that was cut at a stop string leaves the batch a step later,
    whole = call(real.port, "/inferweb", body).json
    time.sleep(0.2)  # and sums are rounded differently in a batch of two
    stream = call(real.port, "/inferweb", {**body, "stream": True}).body.decode("utf-8")
    assert "\ufffd" not in stream
    assert "\ufffd" not in whole["result"]
    assert "".join(deltas(stream.encode())) == whole["result"]
    last = events(stream.encode())[-1]
    assert last["result"] == whole["result"]
    assert last["finish_reason"] == whole["finish_reason"]


@pytest.mark.model
@pytest.mark.case("S08")
def test_four_at_once_and_four_waiting_are_all_answered(real: Process) -> None:
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_ask(real, max_new_token=8)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 8


@pytest.mark.model
def test_a_killed_engine_ends_its_answer_with_an_error_event_and_nothing_stays(
    start: type[Process],
) -> None:
    process = start("--context_length", "512", "--drain_seconds", "1").wait_until_ready()
    (engine,) = process.children()
    with send_raw(process.port, "/inferweb", {"input": "안녕?", "stream": True}) as sock:
        pieces = received(sock)
        seen = b""
        while b"delta" not in seen:
            seen += next(pieces)
        engine.kill()
        seen += b"".join(pieces)
    error = [line for line in seen.decode().split("\n") if '"error"' in line]
    assert error
    assert "engine_failed" in error[0]
    started = time.monotonic()
    assert _ask(process, max_new_token=4).status == 200
    assert time.monotonic() - started < 10
    (again,) = process.children()
    assert process.end() == 0
    assert not again.is_running()


@pytest.mark.case("S43")
def test_a_taken_port_is_found_before_anything_is_loaded(start: type[Process]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = time.monotonic()
        process = start("--port", str(port))
        assert process.code() == 2
    assert time.monotonic() - started < 3
    assert f"127.0.0.1:{port}" in process.log[-1]
    assert "모델을 올리는 중" not in "".join(process.log)
    assert "Traceback" not in "".join(process.log)


@pytest.mark.case("S44")
def test_debug_variables_of_flask_change_nothing(start: type[Process]) -> None:
    process = start("--model", "echo", FLASK_DEBUG="1", WEB_CONCURRENCY="2").wait_until_ready()
    assert call(process.port, "/console").status == 404
    assert not process.children()
    assert sum("준비되었습니다" in line for line in process.log) == 1
    assert process.end() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_answers_finish(start: type[Process], how: signal.Signals) -> None:
    process = start("--model", "echo").wait_until_ready()
    question = "가 " * 400
    with send_raw(process.port, "/inferweb", {"input": question, "stream": True}) as sock:
        pieces = received(sock)
        seen = next(pieces)
        assert process.end(how) == 0
        seen += b"".join(pieces)
    assert b'"result"' in seen


@pytest.mark.model
def test_an_answer_that_takes_too_long_is_told_that_the_server_stops(start: type[Process]) -> None:
    process = start("--drain_seconds", "0", "--max_new_token", "3000").wait_until_ready()
    body = {"input": "긴 이야기를 들려줘.", "stream": True, "temperature": 1.5}
    with send_raw(process.port, "/inferweb", body) as sock:
        pieces = received(sock)
        seen = b""
        while b"delta" not in seen:
            seen += next(pieces)
        process.popen.send_signal(signal.SIGTERM)
        seen += b"".join(pieces)
        assert process.code() == 0
    assert "engine_unavailable" in seen.decode()
    assert not psutil.pid_exists(process.popen.pid)


@pytest.mark.model
def test_while_loading_health_is_503_and_questions_are_told_to_wait(start: type[Process]) -> None:
    process = start()
    seen: set[int] = set()
    end = time.monotonic() + 20
    refused: Answer | None = None
    while 200 not in seen and time.monotonic() < end:
        try:
            seen.add(call(process.port, "/health").status)
            if refused is None and 503 in seen and 200 not in seen:
                refused = _ask(process, max_new_token=1)
        except OSError:
            time.sleep(0.01)
    assert seen == {503, 200}
    assert refused
    if refused.status != 200:  # it may have become ready in between
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0


def test_a_model_that_cannot_be_loaded_ends_the_server_with_one_sentence(
    start: type[Process], tmp_path: Path
) -> None:
    broken = tmp_path / "깨진 모델.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 100)
    process = start("--model", str(broken))
    assert process.code() == 2
    assert "깨진 모델.gguf" in process.log[-1]
    assert "Traceback" not in "".join(process.log)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--model", "없는.gguf"], "없는.gguf"),
        (["--num_beams", "0"], "--num_beams"),
        (["--port", "0"], "--port"),
        (["--prompt_format", "몰라"], "몰라"),
        (["--host", "없는.주소.invalid", "--api_key", "열쇠"], "그런 주소는 없습니다"),
        (["--device", "토스터"], "--device"),
        (["--config", "없는.toml"], "없는.toml"),
        (["--ai_str", " "], "--ai_str"),
        (["--peft_lora_dir", "a=없는.gguf"], "없는.gguf"),
    ],
)
def test_bad_options_end_with_one_sentence_and_code_2(
    start: type[Process], flags: list[str], word: str
) -> None:
    process = start(*flags)
    assert process.code() == 2
    assert word in process.log[-1]
    assert "Traceback" not in "".join(process.log)


@pytest.mark.model
def test_beams_on_an_engine_without_them_are_refused_at_the_start(start: type[Process]) -> None:
    process = start("--num_beams", "3")
    assert process.code() == 2
    assert "--num_beams" in process.log[-1]


def test_the_originals_command_starts_the_same_server(start: type[Process]) -> None:
    flags = [
        *("--quantized_model_dir", "echo", "--device", "cpu", "--max_new_token", "7"),
        *("--num_beams", "1", "--max_history", "3", "--early_stopping"),
        *("--human_str", "###손님", "--ai_str", "###점원", "--stop_str", "###손님"),
    ]
    process = start(*flags, command=[sys.executable, str(ROOT / "api" / "main.py")])
    process.wait_until_ready()
    answer = call(process.port, "/chatweb", {"input": "하나 둘"}).json
    assert [entry["type"] for entry in answer["history"]["history"]] == ["###손님", "###점원"]
    assert process.end() == 0


def test_ngrok_without_a_token_says_what_to_do_and_the_server_stays(
    start: type[Process], tmp_path: Path
) -> None:
    process = start(
        *("--model", "echo", "--ngrok", "--api_key", "열쇠"),
        HOME=str(tmp_path),
        NGROK_AUTHTOKEN="",
    ).wait_until_ready()
    end = time.monotonic() + 5
    while "--ngrock_token" not in "".join(process.log) and time.monotonic() < end:
        time.sleep(0.05)
    assert "--ngrock_token" in "".join(process.log)
    assert call(process.port, "/health").status == 200
    assert process.end() == 0
