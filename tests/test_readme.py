"""The README's commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from client import call
from lightkorllm.engines.echo import saying
from lightkorllm.options import ServeOptions, load
from live import Serve

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.en.md"]


def _commands(readme: Path) -> list[str]:
    text = readme.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:bash|sh|console|bat)\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_make_target_it_names_exists(readme: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {line.split()[1] for line in _commands(readme) if line.startswith("make ")}
    assert {"serve", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_curl_line_is_answered(readme: Path, serve: Serve) -> None:
    port = serve(saying("안녕하세요. 저는 AI입니다.")).port
    lines = [line for line in _commands(readme) if line.startswith("curl") and "-d " in line]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("#")[0] if " #" in line else line)
        url = next(word for word in words if "5989" in word)
        body = words[words.index("-d") + 1]
        if body.startswith("@"):
            continue
        answer = call(port, "/" + url.partition("5989/")[2], data=body.encode())
        assert answer.status == 200, line
        json.loads(body)


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_every_start_line_has_flags_that_exist(readme: Path) -> None:
    starts = [
        shlex.split(re.split(r"\s#", line)[0])
        for line in _commands(readme)
        if line.startswith(("lightkorllm serve", "python api/main.py"))
    ]
    assert starts
    for words in starts:
        assert load(ServeOptions, words[2:], prog="x", environ={})
