"""Keys: named, hashed at rest, needed on every route that generates or reveals state."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from werkzeug.routing import Rule

from client import Answer, call
from lightkorllm import cli
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.errors import OptionError
from lightkorllm.options import ServeOptions
from lightkorllm.server import app as server_app
from lightkorllm.server import entrance, keys
from lightkorllm.server.keys import Keys
from lightkorllm.server.loading import ModelHolder
from live import Serve, chat_on

ASK = {"input": "안녕?"}
MAY_BE_OPEN = re.compile(r"^(health|page\..+|docs\..+|openapi\..+|documentation\..+)$")


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}".encode().decode("latin-1")}


def _ask(port: int, key: str) -> Answer:
    return call(port, "/inferweb", ASK, headers=_bearer(key))


def _rules() -> list[Rule]:
    holder = ModelHolder.of(chat_on(EchoEngine()))
    return list(server_app.create_app(holder, ServeOptions()).url_map.iter_rules())


def _path(rule: Rule) -> str:
    return re.sub(r"<[^>]+>", "x", rule.rule)


def test_every_route_needs_a_key_but_the_open_ones(serve: Serve) -> None:
    port = serve(api_key=("열쇠",)).port
    for rule in _rules():
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            data = b"{}" if method == "POST" else None
            answer = call(port, _path(rule), data=data, method=method)
            is_open = rule.endpoint in server_app.OPEN_ROUTES
            assert (answer.status == 401) != is_open, rule.rule
            if answer.status == 401:
                assert answer.error["code"] == "invalid_api_key"


def test_open_routes_only_show_pages_and_health() -> None:
    declared = {rule.endpoint: rule.methods or set() for rule in _rules()}
    for endpoint in server_app.OPEN_ROUTES:
        assert MAY_BE_OPEN.match(endpoint)
        assert declared[endpoint] <= {"GET", "HEAD", "OPTIONS"}


@pytest.mark.case("S36")
@pytest.mark.parametrize("header", ["Bearer ", "Bearer", "Bearer no-key", "", "Basic eDp5"])
@pytest.mark.parametrize("path", ["/inferweb", "/v1/chat/completions", "/metrics"])
def test_a_server_without_keys_does_not_look_at_the_header(
    serve: Serve, path: str, header: str
) -> None:
    body: Any = {"messages": [{"role": "user", "content": "안녕?"}]} if "v1" in path else ASK
    answer = call(
        serve(saying("네")).port,
        path,
        None if path == "/metrics" else body,
        headers={"Authorization": header},
    )
    assert answer.status == 200


@pytest.mark.parametrize("header", ["Bearer ", "Bearer", "Bearer 0", "열쇠", "Basic k", "k"])
def test_a_wrong_header_is_a_401(serve: Serve, header: str) -> None:
    port = serve(saying("네"), api_key=("k",)).port
    answer = call(port, "/inferweb", ASK, headers={"Authorization": header.encode().decode("l1")})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("told", "key", "name"),
    [
        ("sk-a=b==", "sk-a=b==", "key-1"),
        ("민수:sk-a=b", "sk-a=b", "민수"),
        ("반:a:b", "a:b", "반"),
        ("한글열쇠", "한글열쇠", "key-1"),
    ],
)
def test_a_key_may_have_a_name_before_a_colon(serve: Serve, told: str, key: str, name: str) -> None:
    as_wsgi_has_it = f"Bearer {key}".encode().decode("latin-1")
    assert Keys.of(ServeOptions(api_key=(told,))).check(as_wsgi_has_it) == name
    port = serve(saying("네"), api_key=(told,)).port
    assert _ask(port, key).status == 200


def test_any_of_several_keys_opens_also_two_of_one_name(serve: Serve) -> None:
    port = serve(saying("네"), api_key=("민수:old", "민수:new", "bare")).port
    assert [_ask(port, key).status for key in ("old", "new", "bare")] == [200] * 3
    assert _ask(port, "민수:old").status == 401


@pytest.mark.parametrize("text", ["", " ", "민수:", "민수: k", "나쁜 이름:k", ":k", "k\n"])
def test_a_broken_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(OptionError) as refused:
        Keys.of(ServeOptions(api_key=(text,)))
    assert ":k" not in refused.value.message


def test_a_key_file_holds_names_and_hashes(serve: Serve, tmp_path: Path) -> None:
    secret, key = keys.new("지영")
    file = tmp_path / "열쇠.txt"
    digest = hashlib.sha256(b"other").hexdigest().upper()
    file.write_text(f"\ufeff# 우리 반\n\n{key.line}\nother\t{digest}\n", encoding="utf-8")
    port = serve(saying("네"), api_key_file=file, api_key=("third",)).port
    assert [_ask(port, key).status for key in (secret, "other", "third")] == [200] * 3
    assert _ask(port, digest).status == 401


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "키가 없습니다"),
        ("# 비었음\n", "키가 없습니다"),
        ("민수 secret", "1번째 줄"),
        ("\n민수", "2번째 줄"),
        (f"민/수 {'a' * 64}", "1번째 줄"),
        (f"민수 {'g' * 64}", "1번째 줄"),
    ],
)
def test_a_broken_key_file_never_opens_the_server(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match="--api_key_file") as refused:
        Keys.of(ServeOptions(api_key_file=file))
    assert told in refused.value.message
    assert "secret" not in refused.value.message


def test_a_key_file_that_is_missing_or_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "utf16.txt").write_bytes("민수".encode("utf-16"))
    for name in ("없음.txt", "utf16.txt"):
        with pytest.raises(OptionError, match=name):
            Keys.of(ServeOptions(api_key_file=tmp_path / name))


def test_keys_new_shows_the_key_once_and_the_line_for_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["keys", "new", "민수"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    secret = first.split()[-1]
    assert second.endswith(f"민수 {hashlib.sha256(secret.encode()).hexdigest()}")
    assert len(secret) > 40


def test_keys_new_writes_the_line_to_a_file_that_the_server_reads(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.txt"
    secrets = []
    for name in ("민수", "지영"):
        assert cli.main(["keys", "new", name, "--file", str(file)]) == 0
        secrets.append(capsys.readouterr().out.splitlines()[0].split()[-1])
    assert not any(secret in file.read_text(encoding="utf-8") for secret in secrets)
    if os.name == "posix":
        assert file.stat().st_mode & 0o077 == 0
    port = serve(saying("네"), api_key_file=file).port
    assert [_ask(port, secret).status for secret in secrets] == [200, 200]


def test_keys_new_refuses_a_name_that_a_line_cannot_hold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["keys", "new", "김 민수"]) == 2
    assert capsys.readouterr().err.startswith("오류: ")


def test_options_do_not_show_their_secrets() -> None:
    assert "s3cret" not in repr(ServeOptions(api_key=("s3cret",), ngrock_token="s3cret"))


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"host": "0.0.0.0"}, "--host"),
        ({"host": "::"}, "--host"),
        ({"host": "192.168.0.5"}, "--host"),
        ({"host": "example.com"}, "--host"),
        ({"host": ""}, "--host"),
        ({"ngrock": True}, "--ngrock"),
    ],
)
def test_strangers_are_let_in_only_with_a_key_or_when_told_so(
    options: dict[str, Any], flag: str
) -> None:
    with pytest.raises(OptionError, match=flag) as refused:
        entrance.check(ServeOptions(**options))
    assert "--api_key" in refused.value.message
    assert "--allow_anyone" in refused.value.message
    entrance.check(ServeOptions(**options, api_key=("k",)))
    entrance.check(ServeOptions(**options, allow_anyone=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_this_computer_alone_needs_no_key(host: str) -> None:
    entrance.check(ServeOptions(host=host))


@pytest.mark.parametrize(
    ("flags", "flag"),
    [
        (["--host", "0.0.0.0"], "--host"),
        (["--ngrok"], "--ngrock"),
        (["--rate_limit", "많이"], "--rate_limit"),
        (["--cors_origins", "example.com"], "--cors_origins"),
        (["--api_key_file", "없음.txt"], "--api_key_file"),
    ],
)
def test_a_refused_start_ends_with_one_sentence_before_anything_is_loaded(
    flags: list[str], flag: str
) -> None:
    command = [sys.executable, "-m", "lightkorllm", "serve", "--model", "echo", *flags]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=30)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"오류: {flag}")
