"""CORS: closed unless told; preflights need no key; every answer can be read, errors too."""

from __future__ import annotations

import re

import pytest

from client import Answer, call
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.errors import OptionError
from lightkorllm.options import ServeOptions
from lightkorllm.server.app import create_app
from lightkorllm.server.cors import Cors
from lightkorllm.server.loading import ModelHolder
from live import Serve, chat_on

PAGE = "http://localhost:3000"
ASK = {"input": "안녕?"}


def _preflight(port: int, path: str = "/inferweb", origin: str = PAGE) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }
    return call(port, path, method="OPTIONS", headers=headers)


def _cors(answer: Answer) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control")}


def test_cors_is_off_unless_told(serve: Serve) -> None:
    port = serve(saying("네")).port
    assert not _cors(_preflight(port))
    answer = call(port, "/inferweb", ASK, headers={"Origin": PAGE})
    assert answer.status == 200
    assert not _cors(answer)


@pytest.mark.case("S33")
def test_a_preflight_needs_no_key_on_any_route(serve: Serve) -> None:
    port = serve(api_key=("k",), cors_origins=(PAGE,)).port
    app = create_app(ModelHolder.of(chat_on(EchoEngine())), ServeOptions())
    paths = [re.sub("<[^>]+>", "x", rule.rule) for rule in app.url_map.iter_rules()]
    assert len(paths) > 5
    for path in paths:
        answer = _preflight(port, path)
        assert (answer.status, answer.body) == (204, b""), path
        assert answer.headers["access-control-allow-origin"] == PAGE


def test_a_preflight_says_what_may_be_sent(serve: Serve) -> None:
    answer = _preflight(serve(api_key=("k",), cors_origins=(PAGE,)).port)
    assert answer.headers["access-control-allow-origin"] == PAGE
    wanted = "authorization,content-type,x-stainless-os"
    assert answer.headers["access-control-allow-headers"] == wanted
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Origin" in answer.headers["vary"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.case("S33")
@pytest.mark.parametrize(
    ("path", "key", "status"),
    [("/inferweb", "", 401), ("/nowhere", "k", 404), ("/chatweb", "k", 400)],
)
def test_errors_can_be_read_by_the_page_too(serve: Serve, path: str, key: str, status: int) -> None:
    port = serve(saying("네"), api_key=("k",), cors_origins=(PAGE,)).port
    headers = {"Origin": PAGE, "Authorization": f"Bearer {key}"}
    answer = call(port, path, {"무엇": 1}, headers=headers)
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_shows_its_id_and_when_to_come_back(serve: Serve, stream: bool) -> None:
    port = serve(saying("네"), cors_origins=("https://other.example", PAGE)).port
    answer = call(port, "/inferweb", {**ASK, "stream": stream}, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3001", "https://localhost:3000", "http://localhost:3000.evil.example", ""],
)
def test_other_pages_are_not_allowed(serve: Serve, origin: str) -> None:
    port = serve(saying("네"), cors_origins=(PAGE,)).port
    assert not _cors(_preflight(port, origin=origin))
    answer = call(port, "/inferweb", ASK, headers={"Origin": origin})
    assert not _cors(answer)
    assert answer.headers["vary"] == "Origin"


def test_a_star_allows_every_page(serve: Serve) -> None:
    port = serve(saying("네"), cors_origins=("*",)).port
    assert _preflight(port, origin="null").headers["access-control-allow-origin"] == "*"


def test_a_page_opened_from_a_file_can_be_allowed(serve: Serve) -> None:
    port = serve(saying("네"), cors_origins=("null",)).port
    assert _preflight(port, origin="null").headers["access-control-allow-origin"] == "null"
    assert not _cors(_preflight(port))


def test_an_origin_is_understood_with_a_slash_and_capitals(serve: Serve) -> None:
    port = serve(saying("네"), cors_origins=("HTTP://LocalHost:3000/",)).port
    assert _preflight(port).headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("text", ["", "example.com", "https://", "https://a.b/c", "*.example.com"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--cors_origins"):
        Cors([text])


@pytest.mark.parametrize(
    ("site", "origins", "status"),
    [
        (None, (), 200),
        ("same-origin", (), 200),
        ("none", (), 200),
        ("cross-site", (), 403),
        ("same-site", (), 403),
        ("cross-site", ("https://a.example",), 200),
        ("cross-site", ("https://b.example",), 403),
    ],
)
def test_a_strange_page_cannot_make_a_keyless_server_work(
    serve: Serve, site: str | None, origins: tuple[str, ...], status: int
) -> None:
    engine = EchoEngine(saying("네"))
    headers = {"Origin": "https://a.example", "Content-Type": "text/plain"}
    if site:
        headers["Sec-Fetch-Site"] = site
    live = serve(engine=engine, cors_origins=origins)
    answer = call(live.port, "/inferweb", {"input": "안녕?"}, headers=headers)
    assert answer.status == status
    assert len(engine.prompts) == (1 if status == 200 else 0)
    if status == 403:
        assert answer.error["code"] == "cross_origin_refused"
