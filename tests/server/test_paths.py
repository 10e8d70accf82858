"""Names that clients give never become paths of files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from client import call
from lightkorllm.engines.echo import EchoEngine, saying
from live import Serve

PAYLOADS = [
    "../../etc/passwd",
    "..\\..\\x",
    "%2e%2e%2f%2e%2e%2fetc/passwd",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "a\u0000b",
    "....//....//etc/passwd",
    "file:///etc/passwd",
    "Li4vLi4vZXRjL3Bhc3N3ZA==",
    "~/.ssh/id_rsa",
]

opened: list[str] = []


def _spy(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str):
        opened.append(arguments[0])


sys.addaudithook(_spy)


@pytest.mark.case("S38")
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_name_that_is_a_path_opens_nothing(serve: Serve, name: str) -> None:
    port = serve(engine=EchoEngine(saying("네"), adapters=("말투",))).port
    quoted = name.replace(" ", "%20").replace("\x00", "%00").replace("\\", "%5C")
    ask = {"messages": [{"role": "user", "content": "네?"}]}
    opened.clear()
    answers = [
        call(port, "/v1/chat/completions", {**ask, "model": name}),
        call(port, "/v1/completions", {"prompt": "네?", "model": name}),
        call(port, "/inferweb", {"input": "네?", "adapter": name}),
        call(port, f"/v1/models/{quoted}"),
        call(port, f"/page/{quoted}"),
        call(port, f"/{quoted}"),
    ]
    assert {answer.status for answer in answers} <= {400, 404}
    ours = (str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix)
    assert [path for path in opened if not path.startswith(ours)] == []
