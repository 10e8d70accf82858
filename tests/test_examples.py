"""The examples do what they say, against a running `lightkorllm serve --model echo`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from process import Process

FOLDER = Path(__file__).parents[1] / "examples"
SOURCES = sorted(path for path in FOLDER.rglob("*") if path.suffix in {".py", ".mjs", ".cs", ".gd"})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that says each question again."""
    process = Process("--model", "echo", "--api_key", "lk-example").wait_until_ready(within=90)
    yield f"http://127.0.0.1:{process.port}"
    process.kill()


def _environ(url: str, *, key: str) -> dict[str, str]:
    ours = {"LIGHTKOR_URL": url, "LIGHTKOR_KEY": key, "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **ours}


@pytest.fixture
def environ(server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("LIGHTKOR_URL", server)
    monkeypatch.setenv("LIGHTKOR_KEY", "lk-example")
    return _environ(server, key="lk-example")


def _load(name: str) -> Any:
    """An example as a module of its own, made anew."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(
    *command: str, environ: dict[str, str], said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=said,
        env=environ,
        cwd=FOLDER,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(FOLDER)))
@pytest.mark.parametrize("page", ["README.md", "README.en.md"])
def test_every_example_is_in_the_list(path: Path, page: str) -> None:
    assert f"({path.relative_to(FOLDER)})" in (FOLDER / page).read_text(encoding="utf-8")


def test_requests_talks_until_an_empty_line(environ: dict[str, str]) -> None:
    pytest.importorskip("requests")
    done = _run(sys.executable, "chat_requests.py", environ=environ, said="안녕?\n사과 있어?\n\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "나: AI: 안녕?\n나: AI: 사과 있어?\n나: "


def test_requests_says_what_was_wrong(environ: dict[str, str]) -> None:
    pytest.importorskip("requests")
    wrong = {**environ, "LIGHTKOR_KEY": "wrong"}
    done = _run(sys.executable, "chat_requests.py", environ=wrong, said="안녕?\n")
    assert done.returncode == 1
    assert done.stderr.startswith("API 키가 필요합니다.")


def test_openai_streams(environ: dict[str, str]) -> None:
    done = _run(sys.executable, "chat_openai.py", "사과", "있어?", environ=environ)
    assert (done.returncode, done.stdout) == (0, "사과 있어?\n"), done.stderr


def test_openai_needs_no_key_where_the_server_has_none() -> None:
    server = Process("--model", "echo").wait_until_ready(within=90)
    url = f"http://127.0.0.1:{server.port}"
    try:
        done = _run(sys.executable, "chat_openai.py", "네?", environ=_environ(url, key=""))
    finally:
        server.kill()
    assert (done.returncode, done.stdout) == (0, "네?\n"), done.stderr


def test_fetch_streams_and_keeps_the_history(environ: dict[str, str]) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    done = _run(node, "chat_fetch.mjs", "안녕?", "사과 있어?", environ=environ)
    assert (done.returncode, done.stdout) == (0, "안녕?\n사과 있어?\n"), done.stderr


def test_gradio_gets_ever_longer_answers(environ: dict[str, str]) -> None:
    past = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네"}]
    answers = list(_load("chat_gradio").answer("사과 있어?", past))
    assert answers[-1] == "사과 있어?"
    assert all(later.startswith(earlier) for earlier, later in pairwise(answers))


@contextlib.asynccontextmanager
async def _typing() -> AsyncIterator[None]:
    yield


class _Message:
    """What the Discord bot needs of a message, and what it did with it."""

    def __init__(self, text: str, *mentions: Any, bot: bool = False) -> None:
        self.content = text
        self.mentions = mentions
        self.author = SimpleNamespace(bot=bot)
        self.channel = SimpleNamespace(id=7, typing=_typing)
        self.replies: list[str] = []

    async def reply(self, text: str) -> None:
        self.replies.append(text)


def test_discord_answers_when_it_is_called_and_keeps_the_talk(environ: dict[str, str]) -> None:
    bot, me = _load("discord_bot"), SimpleNamespace(id=42)
    called, not_called = _Message("<@42> 사과 있어?", me), _Message("사과 있어?")
    itself = _Message("<@42> 안녕?", me, bot=True)
    for message in (called, not_called, itself):
        asyncio.run(bot.reply_to(message, me))
    assert [called.replies, not_called.replies, itself.replies] == [["사과 있어?"], [], []]
    assert [turn["str"] for turn in bot.histories[7]["history"]] == ["사과 있어?"] * 2


def test_discord_says_what_was_wrong(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTKOR_KEY", "wrong")
    bot, me = _load("discord_bot"), SimpleNamespace(id=42)
    message = _Message("<@42> 안녕?", me)
    asyncio.run(bot.reply_to(message, me))
    assert message.replies[0].startswith("API 키가 필요합니다.")


def _payload(question: str, **more: str) -> dict[str, Any]:
    """What Kakao i Open Builder posts to a skill, shortened."""
    user = {"id": "u1", "type": "botUserKey", "properties": {}}
    request = {"timezone": "Asia/Seoul", "utterance": question, "lang": "ko", "user": user, **more}
    return {"intent": {"id": "i", "name": "폴백 블록"}, "userRequest": request, "action": {}}


def _text(answer: Any) -> str:
    assert answer["version"] == "2.0"
    (output,) = answer["template"]["outputs"]
    return str(output["simpleText"]["text"])


def test_kakao_gets_a_bubble_and_the_talk_goes_on(environ: dict[str, str]) -> None:
    skill = _load("kakao_webhook")
    client = skill.app.test_client()
    for question in ("안녕?", "사과 있어?"):
        answer = client.post("/skill", json=_payload(question))
        assert _text(answer.json) == question
    assert len(skill.histories["u1"]["history"]) == 4


def test_kakao_gets_an_apology_when_no_model_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTKOR_URL", "http://127.0.0.1:9")
    answer = _load("kakao_webhook").app.test_client().post("/skill", json=_payload("안녕?"))
    assert _text(answer.json).startswith("지금은 답할 수 없어요.")


def test_kakao_is_called_back_with_the_answer(environ: dict[str, str]) -> None:
    got: list[Any] = []

    class Kakao(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "SUCCESS"}')

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to tell."""

    with HTTPServer(("127.0.0.1", 0), Kakao) as kakao:
        once = threading.Thread(target=kakao.handle_request)
        once.start()
        payload = _payload("사과 있어?", callbackUrl=f"http://127.0.0.1:{kakao.server_port}/back")
        answer = _load("kakao_webhook").app.test_client().post("/skill", json=payload)
        once.join(timeout=30)
    assert answer.json["useCallback"] is True
    assert _text(got[0]) == "사과 있어?"


def test_unity_is_c_sharp() -> None:
    tree_sitter = pytest.importorskip("tree_sitter")
    c_sharp = pytest.importorskip("tree_sitter_c_sharp")
    parser = tree_sitter.Parser(tree_sitter.Language(c_sharp.language()))
    tree = parser.parse((FOLDER / "unity" / "LightKorTalk.cs").read_bytes())
    assert not tree.root_node.has_error


def test_godot_is_gdscript() -> None:
    parser = pytest.importorskip("gdtoolkit.parser").parser
    parser.parse((FOLDER / "godot" / "lightkor_talk.gd").read_text(encoding="utf-8"))
