"""The request log: one line each, with an id that comes back, and never a text or a secret."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client import Answer, call, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, endless, saying
from lightkorllm.errors import EngineFailed
from live import Serve

ASK = {"input": "비밀스러운 질문"}
LOGGER = "lightkorllm.server.request_log"

Lines = Callable[[int], list[dict[str, Any]]]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The fields of the first so many lines, waited for: they come when answers end."""
    caplog.set_level(logging.DEBUG, LOGGER)

    def wait(count: int) -> list[dict[str, Any]]:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            found = [vars(each)["fields"] for each in caplog.records if each.name == LOGGER]
            if len(found) >= count:
                return found
            time.sleep(0.01)
        raise AssertionError(caplog.text)

    return wait


@pytest.mark.parametrize("stream", [True, False])
def test_a_line_tells_who_asked_what_route_and_what_it_cost(
    serve: Serve, lines: Lines, stream: bool
) -> None:
    live = serve(saying("하나 ", Pause(0.2), "둘"), api_key=("민수:k",))
    headers = {"Authorization": "Bearer k"}
    answer = call(live.port, "/inferweb", {**ASK, "stream": stream}, headers=headers)
    (fields,) = lines(1)
    assert fields["request_id"] == answer.headers["x-request-id"]
    assert fields["key"] == "민수"
    assert (fields["method"], fields["route"], fields["status"]) == ("POST", "/inferweb", 200)
    assert fields["completion_tokens"] == 2
    assert fields["prompt_tokens"] > 10
    assert 0 < fields["first_token_seconds"] < 0.2 <= fields["seconds"]
    assert 0.19 < fields["seconds_per_token"] < 1
    assert "cancelled" not in fields
    assert "error" not in fields


def test_the_text_is_not_logged(
    serve: Serve, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    call(serve(saying("비밀스러운 답")).port, "/inferweb", ASK)
    assert "비밀" not in str(lines(1))
    assert "비밀" not in caplog.text


@pytest.mark.parametrize("stream", [True, False])
def test_the_text_is_logged_when_asked_for(serve: Serve, lines: Lines, stream: bool) -> None:
    live = serve(saying("비밀스러운 ", "답"), log_text=True)
    call(live.port, "/inferweb", {**ASK, "stream": stream})
    (fields,) = lines(1)
    assert fields["answered"] == "비밀스러운 답"
    assert "비밀스러운 질문" in fields["asked"]


def test_a_request_without_an_answer_has_no_text_either(serve: Serve, lines: Lines) -> None:
    live = serve(log_text=True, max_body=1000)
    call(live.port, "/inferweb", {"input": 3})
    assert "asked" not in lines(1)[0]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_left_is_told_as_cancelled(serve: Serve, lines: Lines, stream: bool) -> None:
    engine = EchoEngine(endless("그 "), delay=0.01)
    with send_raw(
        serve(engine=engine).port, "/inferweb", {**ASK, "stream": stream, "max_new_token": 2000}
    ):
        while engine.steps_played < 5:
            time.sleep(0.01)
    (fields,) = lines(1)
    assert fields["cancelled"] is True
    assert fields["completion_tokens"] >= 4
    assert fields["status"] == (200 if stream else 499)


def test_a_fault_in_the_middle_is_named_though_the_status_was_sent(
    serve: Serve, lines: Lines
) -> None:
    live = serve(saying("하나", EngineFailed("고장")))
    call(live.port, "/inferweb", {**ASK, "stream": True})
    (fields,) = lines(1)
    assert (fields["status"], fields["error"]) == (200, "engine_failed")


def test_refusals_name_their_code_and_an_unknown_path(serve: Serve, lines: Lines) -> None:
    port = serve(api_key=("k",)).port
    call(port, "/inferweb", ASK)
    call(port, "/v1/embeddings", ASK, headers={"Authorization": "Bearer k"})
    unknown, nowhere = lines(2)
    assert (unknown["status"], unknown["error"]) == (401, "invalid_api_key")
    assert (nowhere["status"], nowhere["path"]) == (404, "/v1/embeddings")


def test_health_checks_are_only_debug_lines(
    serve: Serve, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    call(serve().port, "/health")
    lines(1)
    assert [record.levelno for record in caplog.records if record.name == LOGGER] == [logging.DEBUG]


@pytest.mark.parametrize("wanted", ["a", "Abc-1.2_3", "x" * 128])
def test_a_well_formed_request_id_is_kept(serve: Serve, wanted: str) -> None:
    answer = call(serve().port, "/health", headers={"X-Request-Id": wanted})
    assert answer.headers["x-request-id"] == wanted


@pytest.mark.parametrize("wanted", ["", "x" * 129, "a b", "a,b", "<b>", "\xea\xb0\x80", "a\tb"])
def test_another_request_id_is_replaced(serve: Serve, wanted: str) -> None:
    answer = call(serve().port, "/health", headers={"X-Request-Id": wanted})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/nowhere", "/inferweb", "/v1/models"])
def test_every_answer_has_an_id_errors_too(serve: Serve, path: str) -> None:
    assert call(serve(api_key=("k",)).port, path).headers["x-request-id"]


def test_a_strange_request_makes_one_plain_line(
    serve: Serve, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    call(serve().port, "/a%0AINFO%20fake%1b[2J", method="B|LA")
    lines(1)
    message = caplog.records[-1].getMessage()
    assert message.splitlines() == [message]
    assert "\x1b" not in message
    assert message.startswith('"B|LA" "/a\\nINFO')


class Started:
    """`lightkorllm serve` on the echo engine, with its log."""

    def __init__(self, *flags: str, **environ: str) -> None:
        command = [sys.executable, "-m", "lightkorllm", "serve", "--model", "echo", *flags]
        self.popen = subprocess.Popen(
            command, stderr=subprocess.PIPE, encoding="utf-8", env={**os.environ, **environ}
        )

    def log(self, port: int, asks: Callable[[], object]) -> str:
        """Everything logged around the answers to `asks`."""
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                try:
                    if call(port, "/health").status == 200:
                        break
                except OSError:
                    time.sleep(0.05)
            asks()
        finally:
            self.popen.send_signal(signal.SIGTERM)
            _, log = self.popen.communicate(timeout=30)
        return log


def test_no_secret_is_ever_logged(free_port: int) -> None:
    secrets = ["k3y-of-minsu", "k3y-bare", "wr0ng-key", "t0ken-of-ngrok"]
    flags = ["--api_key", f"민수:{secrets[0]}", "--api_key", secrets[1], "--log_text"]
    flags += ["--ngrock_token", secrets[3], "--log_level", "debug", "--port", str(free_port)]

    def asks() -> list[Answer]:
        return [
            call(free_port, path, ASK, headers={"Authorization": f"Bearer {key}"})
            for key in secrets
            for path in ("/inferweb", "/nowhere", f"/inferweb?api_key={key}")
        ]

    log = Started(*flags).log(free_port, asks)
    assert log.count("/inferweb 200") == 4
    assert log.count("invalid_api_key") == 6
    assert not [secret for secret in secrets if secret in log]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for ngrok is a shell script")
def test_what_ngrok_says_of_a_bad_token_is_not_logged(free_port: int, tmp_path: Path) -> None:
    ngrok = tmp_path / "ngrok"
    said = r't=2026-01-01T00:00:00+0000 lvl=eror msg="failed" err="Your authtoken: t0ken-of-ngrok"'
    ngrok.write_text(f"#!/bin/sh\necho '{said}'\nexit 1\n", encoding="utf-8")
    ngrok.chmod(0o755)
    started = Started(
        *("--ngrok", "--ngrock_token", "t0ken-of-ngrok", "--api_key", "k3y-of-minsu"),
        *("--log_level", "debug", "--port", str(free_port)),
        PYNGROK_NGROK_PATH=str(ngrok),
        HOME=str(tmp_path),
    )
    log = started.log(free_port, lambda: time.sleep(1))
    assert "ngrok 터널을 열지 못했습니다" in log
    assert "t0ken" not in log


def test_with_json_every_line_is_a_json_object(free_port: int) -> None:
    started = Started("--log_format", "json", "--port", str(free_port))
    log = started.log(free_port, lambda: [call(free_port, "/inferweb", ASK)])
    told = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level"} <= set(line) for line in told)
    (request,) = [line for line in told if line.get("route") == "/inferweb"]
    assert request["status"] == 200
    assert request["completion_tokens"] == 2
    assert any("준비되었습니다" in line.get("message", "") for line in told)


def test_a_stream_is_told_when_it_ends(
    serve: Serve, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    live = serve(saying("하나", Pause(0.5), "둘"))
    with send_raw(live.port, "/inferweb", {**ASK, "stream": True}) as sock:
        next(received(sock))
        assert not [record for record in caplog.records if record.name == LOGGER]
        assert lines(1)[0]["completion_tokens"] == 2
