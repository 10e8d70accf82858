"""Bad input: a clear 4xx in Korean that names the field, and the next request is fine."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import Answer, call, received
from lightkorllm.engines.echo import saying
from live import Serve

ROUTES = ["/inferweb", "/chatweb"]


def _refused(answer: Answer, status: int = 400) -> dict[str, Any]:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.error
    assert set(error) == {"message", "type", "param", "code"}
    assert any("가" <= char <= "힣" for char in error["message"])
    return error


@pytest.mark.case("S21")
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"not json",
        b"",
        b'{"input": "a",}',
        '{"input": "안녕"}'.encode("cp949"),
        b'{"input": NaN}',
        b'{"input": "a", "temperature": Infinity}',
        b"[" * 100_000,
        b'{"input": "a", "seed": ' + b"1" * 10_000 + b"}",
        b"\xff\xfe",
        b'"input"',
        b"[1]",
        b"null",
    ],
)
def test_what_is_not_a_json_object_is_a_400(serve: Serve, route: str, data: bytes) -> None:
    live = serve(saying("네"))
    _refused(call(live.port, route, data=data))
    assert call(live.port, route, {"input": "안녕?"}).status == 200


@pytest.mark.parametrize("depth", [2_000, 200_000])
def test_json_that_is_too_deep_is_a_400_on_every_python(serve: Serve, depth: int) -> None:
    data = b'{"input": ' + b"[" * depth + b"]" * depth + b"}"
    assert "깊습니다" in _refused(call(serve(saying("네")).port, "/inferweb", data=data))["message"]


def test_a_cp949_body_is_told_about_utf8(serve: Serve) -> None:
    answer = call(serve(saying("네")).port, "/inferweb", data='{"input": "안녕"}'.encode("cp949"))
    assert "UTF-8" in _refused(answer)["message"]


def test_a_body_with_a_byte_order_mark_is_read(serve: Serve) -> None:
    data = '{"input": "안녕"}'.encode("utf-8-sig")
    assert call(serve(saying("네")).port, "/inferweb", data=data).status == 200


@pytest.mark.case("S23")
@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/json", "application/json; charset=utf-8", "a/b", "multipart"],
)
def test_any_content_type_is_read_as_json(serve: Serve, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = call(serve(saying("네")).port, "/inferweb", {"input": "안녕?"}, headers=headers)
    assert answer.status == 200


@pytest.mark.case("S20")
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 1}, "input"),
        ({"input": ["a"]}, "input"),
        ({"instruction": "친절하게"}, "instruction"),
        ({"instruction": {"comand": "친절하게"}}, "instruction.comand"),
        ({"instruction": {"command": 3}}, "instruction.command"),
        ({"history": []}, "history"),
        ({"history": "안녕"}, "history"),
        ({"history": {"history": {}}}, "history.history"),
        ({"history": {"hsitory": []}}, "history.hsitory"),
        ({"history": {"count": "1"}}, "history.count"),
        ({"history": {"history": ["안녕"]}}, "history.history[0]"),
        ({"history": {"history": [{"str": "가"}]}}, "history.history[0].type"),
        ({"history": {"history": [{"type": "user"}]}}, "history.history[0].str"),
        ({"history": {"history": [{"type": "user", "str": None}]}}, "history.history[0].str"),
        ({"history": {"history": [{"type": "몰라", "str": "가"}]}}, "history.history[0].type"),
        ({"max_new_tokens": 5}, "max_new_tokens"),
        ({"max_new_token": 0}, "max_new_token"),
        ({"max_new_token": "5"}, "max_new_token"),
        ({"max_new_token": 5.5}, "max_new_token"),
        ({"max_new_token": True}, "max_new_token"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**70}, "seed"),
        ({"num_beams": 0}, "num_beams"),
        ({"stop": 123}, "stop"),
        ({"stop": [True]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"stop": ["가", ""]}, "stop"),
        ({"adapter": "없는것"}, "adapter"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_wrong_field_is_named(serve: Serve, change: dict[str, Any], param: str) -> None:
    live = serve(saying("네"))
    error = _refused(call(live.port, "/chatweb", {"input": "안녕?", **change}))
    assert error["param"] == param
    assert param in error["message"]
    assert live.idle()


def test_a_likely_typo_is_answered_with_the_right_name(serve: Serve) -> None:
    answer = call(serve(saying("네")).port, "/inferweb", {"input": "a", "max_new_tokens": 3})
    assert "`max_new_token`?" in _refused(answer)["message"]


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b'{"input": "\\ud800"}', "input"),
        (b'{"input": "a", "stop": ["\\udc00"]}', "stop[0]"),
        (b'{"input": "a", "instruction": {"command": "x\\ud83d"}}', "instruction.command"),
        (b'{"input": "a", "\\ud800": 1}', None),
    ],
)
def test_a_lone_surrogate_is_refused(serve: Serve, data: bytes, param: str | None) -> None:
    assert _refused(call(serve(saying("네")).port, "/inferweb", data=data))["param"] == param


def test_an_emoji_written_as_a_surrogate_pair_is_fine(serve: Serve) -> None:
    data = b'{"input": "\\ud83d\\ude00"}'
    assert call(serve(saying("네")).port, "/inferweb", data=data).status == 200


@pytest.mark.case("S28")
@pytest.mark.parametrize("temperature", [0, 0.0, 2])
def test_temperature_may_be_zero(serve: Serve, temperature: float) -> None:
    body = {"input": "안녕?", "temperature": temperature}
    assert call(serve(saying("네")).port, "/inferweb", body).status == 200


@pytest.mark.case("S46")
def test_a_body_over_the_limit_is_a_413(serve: Serve) -> None:
    live = serve(saying("네"), max_body=10_000)
    error = _refused(call(live.port, "/inferweb", {"input": "가" * 10_000}), 413)
    assert error["code"] == "body_too_large"
    assert "10,000" in error["message"]
    assert call(live.port, "/inferweb", {"input": "가" * 1_000}).status == 200


@pytest.mark.case("S46")
def test_a_chunked_body_does_not_slip_past_the_limit(serve: Serve) -> None:
    live = serve(saying("네"), max_body=10_000)
    head = b"POST /inferweb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as sock:
        sock.sendall(head)
        for _ in range(11):  # and the end never comes
            sock.sendall(b"3e8\r\n" + b"a" * 1000 + b"\r\n")
        answer = b"".join(received(sock))
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "body_too_large"


@pytest.mark.case("S46")
def test_a_large_but_allowed_body_is_read(serve: Serve) -> None:
    body = {"input": "a" * 200_000, "max_new_token": 1}
    assert call(serve(saying("네")).port, "/inferweb", body).error["code"] == (
        "context_length_exceeded"
    )


def test_bad_http_is_answered_in_json(serve: Serve) -> None:
    with socket.create_connection(("127.0.0.1", serve().port), timeout=10) as sock:
        sock.sendall(b"POST /inferweb HTTP/1.1\r\nContent-Length: abc\r\n\r\n")
        answer = b"".join(received(sock))
    assert answer.startswith(b"HTTP/1.1 400")
    assert "message" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/inferweb", 405),
        ("PUT", "/chatweb", 405),
        ("GET", "/nothing", 404),
        ("GET", "/console", 404),
        ("POST", "/../../etc/passwd", 404),
        ("GET", "/static/x", 404),
    ],
)
def test_wrong_routes_and_methods_are_json_errors(
    serve: Serve, method: str, path: str, status: int
) -> None:
    _refused(call(serve().port, path, method=method, data=b""), status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["history", "type", "str", "command", "x"]), inner)
    ),
    max_leaves=8,
)
FIELDS = ["input", "instruction", "history", "stop", "temperature", "seed", "stream", "adapter"]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.dictionaries(st.sampled_from(FIELDS), JSON), route=st.sampled_from(ROUTES))
def test_no_body_makes_the_server_stumble(fuzzed: int, body: dict[str, Any], route: str) -> None:
    answer = call(fuzzed, route, data=json.dumps(body).encode())
    assert answer.status in (200, 400)


@pytest.fixture
def fuzzed(serve: Serve) -> int:
    return serve(saying("네")).port


@pytest.mark.case("S36")
def test_no_key_is_needed_without_keys_whatever_the_client_sends(serve: Serve) -> None:
    port = serve(saying("네")).port
    for value in ("Bearer ", "Bearer no-key", "Basic eA=="):
        headers = {"Authorization": value}
        assert call(port, "/inferweb", {"input": "네?"}, headers=headers).status == 200


def test_with_keys_only_their_bearers_come_in(serve: Serve) -> None:
    port = serve(saying("네"), api_key=("첫째", "second")).port
    wrong = [{}, {"Authorization": "Bearer x"}, {"Authorization": "second"}]
    for headers in wrong:
        answer = call(port, "/inferweb", {"input": "네?"}, headers=headers)
        assert _refused(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
    right = {"Authorization": "Bearer second"}
    assert call(port, "/inferweb", {"input": "네?"}, headers=right).status == 200
    assert call(port, "/health").status == 200


def test_a_wrong_method_is_told_which_ones_are_right(serve: Serve) -> None:
    answer = call(serve(saying("네")).port, "/inferweb")
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]


def test_no_depth_of_nesting_makes_an_error_of_ours_even_when_text_is_logged(serve: Serve) -> None:
    port = serve(saying("네"), log_text=True).port
    for depth in (*range(900, 1000, 7), 980, 985, 990, 5000):
        nested = b'{"messages": [{"role": "user", "content": "a"}], "audio": null, "metadata": '
        data = nested + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        assert call(port, "/v1/chat/completions", data=data).status in (200, 400)
