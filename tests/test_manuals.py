"""The manuals: what they tell to type, to write or to look for works, and is there."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import manual
from client import received, send_raw
from lightkorllm import cli, errors, prompts
from lightkorllm.conversation import Conversation
from lightkorllm.data import formats
from lightkorllm.data.options import DataOptions
from lightkorllm.engines.echo import EchoEngine, endless, words
from lightkorllm.errors import LightKorError
from lightkorllm.evaluation.options import EvaluateOptions
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.merging import MergeOptions
from lightkorllm.options import ServeOptions, load
from lightkorllm.prompts.base import Settings
from lightkorllm.quantization.options import QuantizeOptions
from lightkorllm.repacking.options import ExportOptions
from lightkorllm.terminal.options import TerminalOptions
from live import Serve

language = pytest.mark.parametrize("language", ["ko", "en"])


def _drop_in(monkeypatch: pytest.MonkeyPatch, package: Any, file: Path, source: str) -> None:
    """Write a page's code into a file that lies beside the package's own ones."""
    file.write_text(source, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(file.parent)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{file.stem}", raising=False)


@pytest.fixture
def known_formats() -> Iterator[None]:
    formats.known.cache_clear()
    yield
    formats.known.cache_clear()


def _lines_of_code(source: str) -> int:
    return len([line for line in source.splitlines() if line.strip()])


@language
def test_the_first_prompt_format_is_one_file(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = manual.page("extending.md", language)
    source = manual.block(page, "python prompts/shop.py")
    _drop_in(monkeypatch, prompts, tmp_path / "shop.py", source)

    shop = prompts.get("shop", Settings())

    assert _lines_of_code(source) <= 15
    assert shop.render(Conversation.ask("사과 있어요?")).text == manual.block(
        page, "text shop prompt"
    )


@language
def test_the_first_data_format_is_one_file(
    language: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    known_formats: None,
) -> None:
    page = manual.page("extending.md", language)
    source = manual.block(page, "python formats/counsel.py")
    _drop_in(monkeypatch, formats, tmp_path / "counsel.py", source)
    (tmp_path / "상담.csv").write_text(manual.block(page, "csv counsel"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["data", "상담.csv", "--rows", "1"]) == 0
    shown = capsys.readouterr().out

    assert _lines_of_code(source) <= 15
    assert "형식: counsel" in shown
    assert shown.endswith(manual.block(page, "text counsel"))


@language
def test_the_first_engine_answers_in_python_and_over_http(
    language: str,
) -> None:
    page = manual.page("extending.md", language)
    module: dict[str, Any] = {}
    printed = io.StringIO()
    exec(manual.block(page, "python engine"), module)
    with contextlib.redirect_stdout(printed):
        exec(manual.block(page, "python ask"), module)
    exec(_without_the_last_line(manual.block(page, "python serve")), module)
    answer = module["app"].test_client().post("/chatweb", json={"input": "안녕?"})

    assert _lines_of_code(manual.block(page, "python engine")) <= 16
    assert printed.getvalue() == manual.block(page, "text ask")
    assert answer.json["result"] == "안녕하세요!"


def _without_the_last_line(source: str) -> str:
    """All but the line that serves until the end."""
    *lines, last = source.splitlines()
    assert last == 'Door("127.0.0.1", 5989).serve(app, threads=16)'
    return "\n".join(lines)


def _shape(text: ast.expr) -> Iterator[str]:
    """The texts in an expression, with `…` for what is filled in."""
    for node in ast.walk(text):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _code_of(node: ast.AST) -> str:
    """The error code of what a node raises or tells; empty where it is no error of ours."""
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    name = node.name if isinstance(node, ast.ClassDef) else name
    kind = getattr(errors, name, None)
    return kind.code if isinstance(kind, type) and issubclass(kind, LightKorError) else ""


@functools.cache
def _messages() -> frozenset[tuple[str, str]]:
    """Each message that our code can give, with its error code."""
    found = set()
    for file in Path(errors.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            code = _code_of(node)
            if code and (isinstance(node, ast.Call) or file == Path(errors.__file__)):
                found |= {(code, text) for text in _shape(node)}  # type: ignore[arg-type]
    return frozenset(found)


def _told(page: str) -> list[tuple[str, str]]:
    """The code and message of each row that has both."""
    rows = (cells for cells in manual.rows(page) if len(cells) == 3)
    return [
        (cells[1].strip("`"), cells[0].partition("`")[2].partition("`")[0])
        for cells in rows
        if cells[1] != "`code`" and cells[1].startswith("`")
    ]


def test_every_message_that_is_told_is_one_that_our_code_gives() -> None:
    told = _told(manual.page("trouble.md", "ko"))
    assert len(told) > 50
    wrong = [
        (code, message)
        for code, message in told
        if not any(code == had and message.strip("… ") in text for had, text in _messages())
    ]
    assert wrong == []


@language
@pytest.mark.parametrize("kind", list(manual.error_classes()), ids=lambda kind: str(kind.code))
def test_every_error_code_can_be_looked_up(kind: type[LightKorError], language: str) -> None:
    assert f"`{kind.code}`" in manual.page("trouble.md", language)


OPTIONS = (
    DataOptions,
    EvaluateOptions,
    ExportOptions,
    FinetuneOptions,
    MergeOptions,
    QuantizeOptions,
    ServeOptions,
    TerminalOptions,
)
OTHERS = {"--version", "--file", "--now", "--nginx"}  # of no option class, or of other programs
OURS = ("deploy.md", "extending.md", "moving.md", "security.md", "start.md", "trouble.md")


def _flags() -> set[str]:
    found = set(OTHERS)
    for kind in OPTIONS:
        for name, hint in get_type_hints(kind, include_extras=True).items():
            extras = getattr(hint, "__metadata__", ())
            found |= {f"--{name}"}
            found |= {alias for extra in extras for alias in getattr(extra, "aliases", None) or ()}
    return found


@language
@pytest.mark.parametrize("name", OURS)
def test_every_flag_that_is_told_exists(name: str, language: str) -> None:
    told = set(re.findall(r"(?<![\w-])--[a-z_]+", manual.page(name, language)))
    system = {"--system", "--home", "--shell"}  # of useradd
    assert told - system <= _flags()


@language
def test_the_first_program_talks(language: str, serve: Serve, capsys: Any) -> None:
    source = manual.block(manual.page("start.md", language), "python first")
    live = serve(words)
    exec(source.replace("127.0.0.1:5989", f"127.0.0.1:{live.port}"), {})
    assert capsys.readouterr().out == "안녕? 책을 추천해 줄래?\n그건 누가 썼어?\n"


@language
def test_openais_client_talks_as_the_page_shows(language: str, serve: Serve, capsys: Any) -> None:
    source, *_ = manual.blocks(manual.page("openai.md", language))
    exec(source.text.replace("127.0.0.1:5989", f"127.0.0.1:{serve(words).port}"), {})
    assert capsys.readouterr().out == "한국의 수도는 어디인가요?\n"


@language
def test_the_originals_files_are_told_and_there(language: str) -> None:
    told = re.findall(
        r"^\|[^|]*`((?:api|lib|script)/[^`]+)`", manual.page("moving.md", language), re.M
    )
    assert len(told) == 8
    for path in told:
        assert (manual.ROOT / path).is_file(), path
    for path in (manual.ROOT / "script").rglob("*.*"):
        if path.suffix in {".py", ".ipynb"}:
            assert str(path.relative_to(manual.ROOT)) in told


ORIGINAL_FLAGS = """--quantized_model_dir m --peft_lora_dir p --device cuda:0 --max_new_token 256
    --num_beams 1 --max_history 3 --early_stopping --port 9091 --ngrock --ngrock_token t
    --human_str h --ai_str a --stop_str s"""


@language
def test_every_flag_of_the_original_is_told_and_taken(language: str) -> None:
    words = ORIGINAL_FLAGS.split()
    assert load(ServeOptions, words, prog="main.py", environ={}).port == 9091
    for flag in (word for word in words if word.startswith("--")):
        assert manual.row(manual.page("moving.md", language), flag)[2]


@language
def test_the_deployed_config_is_one_that_the_server_takes(language: str, tmp_path: Path) -> None:
    file = tmp_path / "lightkorllm.toml"
    page = manual.page("deploy.md", language)
    file.write_text(manual.block(page, "toml lightkorllm"), encoding="utf-8")
    options = load(ServeOptions, ["--config", str(file)], prog="x", environ={})
    assert options.max_concurrent == 2


@language
def test_the_unit_waits_for_running_answers_and_is_what_systemd_takes(
    language: str, tmp_path: Path
) -> None:
    unit = manual.block(manual.page("deploy.md", language), "ini lightkorllm.service")
    seconds = int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0])
    assert seconds > ServeOptions.drain_seconds
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    program = re.findall(r"ExecStart=(\S+)", unit)[0]
    file = tmp_path / "lightkorllm.service"
    here = unit.replace(program, sys.executable).replace("User=lightkor\n", "")
    file.write_text(here, encoding="utf-8")
    ran = subprocess.run(
        [analyze, "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert "lightkorllm.service" not in ran.stderr


@language
def test_nginx_lets_a_stream_through_and_the_end_of_a_client(
    language: str, serve: Serve, tmp_path: Path
) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("needs nginx")
    live = serve(engine=EchoEngine(endless("그 "), delay=0.02))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    site = manual.block(manual.page("deploy.md", language), "nginx")
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
    site = site.replace("127.0.0.1:5989", f"127.0.0.1:{live.port}")
    file = tmp_path / "nginx.conf"
    paths = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}{site} }}\n",
        encoding="utf-8",
    )
    proxy = subprocess.Popen([nginx, "-c", str(file)], stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        body = {"input": "안녕?", "stream": True, "max_new_token": 2000}
        client = send_raw(port, "/chatweb", body)
        pieces = received(client)
        seen = b""
        while b"delta" not in seen:
            seen += next(pieces)
        assert live.engine.slots.busy == 1  # so it came while the answer was being made
        client.close()
        assert live.idle(within=5)
    finally:
        proxy.terminate()
        proxy.wait(10)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("nginx did not start")
