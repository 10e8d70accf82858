"""Tunnels: real pyngrok and our own code, before stand-ins for the agents' programs."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import call
from fake_agents import FakeAgents
from lightkorllm.errors import OptionError
from lightkorllm.options import ServeOptions
from lightkorllm.server.tunnel import Tunnel, curl_line, local_url
from process import Process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts")
needs_pyngrok = pytest.mark.skipif(
    importlib.util.find_spec("pyngrok") is None, reason="pyngrok is not installed"
)

TOKEN = "t0ken-of-ngrok"
LOCAL = "http://127.0.0.1:9"
KINDS = [pytest.param("ngrok", marks=needs_pyngrok), "cloudflare"]

Open = Callable[..., Tunnel]


@pytest.fixture
def agents(tmp_path: Path) -> FakeAgents:
    return FakeAgents.in_folder(tmp_path)


@pytest.fixture
def urls() -> list[str]:
    return []


@pytest.fixture
def open_tunnel(
    agents: FakeAgents, urls: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    opened: list[Tunnel] = []

    def start(
        kind: str, how: str = "", *, token: str | None = TOKEN, patience: float = 30, **environ: str
    ) -> Tunnel:
        for name, value in {**agents.environ(how), **environ}.items():
            monkeypatch.setenv(name, value)
        tunnel = Tunnel(kind, LOCAL, token=token, on_url=urls.append, patience=patience)
        opened.append(tunnel)
        return tunnel

    yield start
    for tunnel in opened:
        tunnel.close()


def _eventually(true: Callable[[], object], within: float = 20) -> bool:
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_tunnel_tells_its_url_and_takes_its_agent_with_it(
    kind: str, open_tunnel: Open, agents: FakeAgents, urls: list[str]
) -> None:
    tunnel = open_tunnel(kind)
    assert _eventually(lambda: urls)
    assert urls[0].startswith("http")
    if kind == "cloudflare":
        assert urls == ["https://four-words-of-it.trycloudflare.com"]
        assert LOCAL in agents.seen["argv"]
    assert agents.running
    tunnel.close()
    assert not agents.running


@needs_pyngrok
@pytest.mark.case("S41")
def test_the_token_is_on_no_command_line_and_its_file_is_private_and_gone(
    open_tunnel: Open, agents: FakeAgents, urls: list[str]
) -> None:
    own = agents.folder / "config" / "ngrok" / "ngrok.yml"
    own.parent.mkdir(parents=True)
    own.write_text('version: "3"\nagent: {authtoken: 0ld, region: jp}\n', encoding="utf-8")
    open_tunnel("ngrok")
    assert _eventually(lambda: urls)
    seen = agents.seen
    assert not [word for word in seen["argv"] if TOKEN in word]
    assert f"authtoken: {TOKEN}" in seen["config"]
    assert "region: jp" in seen["config"]
    assert seen["mode"] == stat.S_IRUSR | stat.S_IWUSR
    assert seen["env"] == TOKEN
    assert not Path(seen["path"]).exists()
    assert "0ld" in own.read_text(encoding="utf-8")


@needs_pyngrok
@pytest.mark.parametrize(
    "text", ['version: "3"\nagent:\n  authtoken: 0wn\n', 'version: "2"\nauthtoken: 0wn\n']
)
def test_the_token_of_ngroks_own_config_file_is_enough(
    text: str, open_tunnel: Open, agents: FakeAgents, urls: list[str]
) -> None:
    own = agents.folder / "config" / "ngrok" / "ngrok.yml"
    own.parent.mkdir(parents=True)
    own.write_text(text, encoding="utf-8")
    open_tunnel("ngrok", token=None)
    assert _eventually(lambda: urls)
    assert "--config" not in agents.seen["argv"]


def test_cloudflared_does_not_read_the_users_own_rules(
    open_tunnel: Open, agents: FakeAgents, urls: list[str]
) -> None:
    open_tunnel("cloudflare")
    assert _eventually(lambda: urls)
    assert agents.seen["config"] == "no-autoupdate: true\n"


FAILURES = [
    ("ngrok", "ERR_NGROK_4018", "your-authtoken"),
    ("ngrok", "ERR_NGROK_105", "토큰이 맞지 않습니다"),
    ("ngrok", "ERR_NGROK_107", "토큰이 맞지 않습니다"),
    ("ngrok", "ERR_NGROK_108", "dashboard.ngrok.com/agents"),
    ("ngrok", "ERR_NGROK_121", "ngrok update"),
    ("ngrok", "ERR_NGROK_334", "다른 ngrok이 쓰고 있습니다"),
    ("ngrok", "ERR_NGROK_99999", "ERR_NGROK_99999"),
    ("ngrok", "exits", "인터넷 연결"),
    ("cloudflare", "exits", "인터넷 연결"),
    ("cloudflare", "no network", "인터넷 연결"),
    ("cloudflare", "too many", "429"),
]


@pytest.mark.case("S41")
@pytest.mark.parametrize(("kind", "how", "word"), FAILURES)
def test_a_failure_is_one_line_with_what_to_do_and_without_the_token(
    kind: str, how: str, word: str, open_tunnel: Open, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "ngrok":
        pytest.importorskip("pyngrok")
    open_tunnel(kind, how)
    assert _eventually(lambda: caplog.records)
    time.sleep(0.1)
    (record,) = caplog.records
    assert word in record.getMessage()
    assert "로컬 서버는 그대로" in record.getMessage()
    assert TOKEN not in caplog.text


@needs_pyngrok
def test_ngrok_without_a_network_is_told_after_its_own_patience(
    open_tunnel: Open, agents: FakeAgents, caplog: pytest.LogCaptureFixture
) -> None:
    open_tunnel("ngrok", "no network")
    assert _eventually(lambda: caplog.records, within=25)
    assert "인터넷 연결" in caplog.text
    assert not agents.running


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param("ngrok", "hangs", marks=needs_pyngrok),
        ("cloudflare", "hangs"),
        ("cloudflare", "blocked"),
    ],
)
def test_an_agent_that_hangs_is_given_up_and_ended(
    kind: str, how: str, open_tunnel: Open, agents: FakeAgents, caplog: pytest.LogCaptureFixture
) -> None:
    open_tunnel(kind, how, patience=2)
    assert _eventually(lambda: "2초가 지나도" in caplog.text)
    assert _eventually(lambda: not agents.running)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_leaves_later_is_told(
    kind: str, open_tunnel: Open, urls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    open_tunnel(kind, "leaves")
    assert _eventually(lambda: caplog.records)
    assert urls
    assert f"{kind} 프로그램이 3번으로 끝남" in caplog.text


def test_a_missing_cloudflared_is_told_with_where_to_get_it(
    open_tunnel: Open, agents: FakeAgents, caplog: pytest.LogCaptureFixture
) -> None:
    (agents.folder / "cloudflared").unlink()
    open_tunnel("cloudflare")
    assert _eventually(lambda: caplog.records)
    assert "https://developers.cloudflare.com/" in caplog.text
    assert "--tunnel ngrok" in caplog.text


def test_a_missing_pyngrok_is_told_with_its_install_line(
    open_tunnel: Open, agents: FakeAgents, caplog: pytest.LogCaptureFixture
) -> None:
    (agents.folder / "pyngrok.py").write_text("raise ImportError\n", encoding="utf-8")
    open_tunnel("ngrok", PYTHONPATH=str(agents.folder))
    assert _eventually(lambda: caplog.records)
    assert 'pip install "lightkorllm[tunnel]"' in caplog.text


@needs_pyngrok
def test_an_ngrok_that_cannot_be_fetched_is_told_with_where_to_get_it(
    open_tunnel: Open, agents: FakeAgents, caplog: pytest.LogCaptureFixture
) -> None:
    (agents.folder / "ngrok").unlink()
    nobody = "http://127.0.0.1:9"
    open_tunnel("ngrok", http_proxy=nobody, https_proxy=nobody)
    assert _eventually(lambda: "https://ngrok.com/download" in caplog.text)


def test_closing_while_it_opens_ends_it_silently(
    open_tunnel: Open, agents: FakeAgents, urls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = open_tunnel("cloudflare", "hangs")
    assert _eventually((agents.folder / "seen.json").exists)
    tunnel.close()
    assert not agents.running
    assert not urls
    assert not caplog.records
    assert not [thread for thread in threading.enumerate() if thread.name == "tunnel"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:5989"),
        ("localhost", "http://127.0.0.1:5989"),
        ("0.0.0.0", "http://127.0.0.1:5989"),
        ("::", "http://[::1]:5989"),
        ("::1", "http://[::1]:5989"),
        ("192.168.0.5", "http://192.168.0.5:5989"),
    ],
)
def test_the_agent_is_sent_to_where_the_server_listens(host: str, url: str) -> None:
    assert local_url(host, 5989) == url


def test_the_curl_line_has_the_keys_place_only_where_a_key_is_needed() -> None:
    assert "Authorization" not in curl_line("https://x.example", with_key=False)
    assert "Bearer YOUR_API_KEY" in curl_line("https://x.example", with_key=True)


def test_one_tunnel_is_enough() -> None:
    with pytest.raises(OptionError, match="--tunnel"):
        ServeOptions(ngrock=True, tunnel="cloudflare")
    assert ServeOptions(ngrock=True).tunnel_kind == "ngrok"
    assert ServeOptions(tunnel="cloudflare").tunnel_kind == "cloudflare"
    assert not ServeOptions().tunnel_kind


# The whole server.


@pytest.fixture
def start(agents: FakeAgents) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def run(*flags: str, how: str = "", **environ: str) -> Process:
        flags = ("--model", "echo", "--api_key", "k3y-of-minsu", *flags)
        process = Process(*flags, command=None, **{**agents.environ(how), **environ})
        started.append(process)
        return process.wait_until_ready()

    yield run
    for process in started:
        process.kill()


def _logged(process: Process, word: str) -> str:
    assert _eventually(lambda: word in "".join(process.log)), "".join(process.log)
    return next(line for line in process.log if word in line)


@needs_pyngrok
@pytest.mark.case("S41")
def test_the_printed_curl_line_is_answered_through_the_tunnel(
    start: Callable[..., Process], agents: FakeAgents
) -> None:
    process = start("--ngrok", NGROK_AUTHTOKEN=TOKEN)
    line = _logged(process, "curl ").partition("물어보기: ")[2]
    words = shlex.split(line)
    headers = [words[i + 1].split(": ", 1) for i, word in enumerate(words) if word == "-H"]
    port = int(words[1].split(":")[2].split("/")[0])
    body = words[words.index("-d") + 1].encode()
    assert call(port, "/inferweb", data=body, headers=dict(headers)).status == 401
    with_key = {**dict(headers), "Authorization": "Bearer k3y-of-minsu"}
    answer = call(port, "/inferweb", data=body, headers=with_key)
    assert answer.status == 200
    assert answer.json["result"]
    assert process.end(signal.SIGTERM) == 0
    assert not agents.running
    log = "".join(process.log)
    assert TOKEN not in log
    assert "k3y-of-minsu" not in log


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_however_the_server_ends_no_agent_is_left(
    how: signal.Signals, start: Callable[..., Process], agents: FakeAgents
) -> None:
    process = start("--tunnel", "cloudflare")
    _logged(process, "https://four-words-of-it.trycloudflare.com")
    process.end(how)
    assert _eventually(lambda: not agents.running, within=5)


def test_a_tunnel_that_fails_leaves_the_local_server_open(
    start: Callable[..., Process],
) -> None:
    process = start("--tunnel", "cloudflare", how="too many")
    _logged(process, "로컬 서버는 그대로")
    headers = {"Authorization": "Bearer k3y-of-minsu"}
    assert call(process.port, "/inferweb", {"input": "안녕"}, headers=headers).status == 200
    assert process.end() == 0
