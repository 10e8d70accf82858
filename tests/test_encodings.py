"""No text is read or written in whatever encoding the machine happens to have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file
    for folder in ("src", "api", "lib", "script", "benchmarks", "examples")
    for file in (ROOT / folder).rglob("*.py")
)
TEXT_CALLS = {"read_text": 0, "write_text": 1}  # and the place of `encoding` among the arguments
OPENERS = {"open": 3, "fdopen": 3, "NamedTemporaryFile": 3, "TemporaryFile": 3, "TextIOWrapper": 1}
PROCESSES = {"run", "Popen", "check_output"}


def _nameless(source: str) -> Iterator[int]:
    """The lines of calls that handle text and do not name its encoding."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _is_nameless(node):
            yield node.lineno


def _is_nameless(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if name in TEXT_CALLS:
        return len(call.args) <= TEXT_CALLS[name]
    if name in PROCESSES:
        return bool({"text", "universal_newlines"} & set(keywords))
    return name in OPENERS and len(call.args) <= OPENERS[name] and not _is_binary(call, keywords)


def _is_binary(call: ast.Call, keywords: dict[str | None, ast.expr]) -> bool:
    """Whether the mode has a `b`, or this is another thing that is opened (a socket, an image)."""
    modes = [*call.args, keywords.get("mode")]
    words = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    if any(isinstance(word, str) and set(word) <= set("rwxab+t") and "b" in word for word in words):
        return True
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name.endswith("TemporaryFile") and not words  # binary unless told otherwise


@pytest.mark.case("K14")
@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_whatever_opens_a_text_names_its_encoding(file: Path) -> None:
    assert list(_nameless(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "call",
    [
        "open(p)", "open(p, 'w')", "Path(p).open()", "path.read_text()", "path.write_text('글')",
        "os.fdopen(fd, 'w')", "subprocess.run(c, text=True)", "NamedTemporaryFile('w')",
    ],
)  # fmt: skip
def test_a_call_without_an_encoding_is_found(call: str) -> None:
    assert list(_nameless(call)) == [1]


@pytest.mark.parametrize(
    "call",
    [
        "open(p, 'rb')", "open(p, encoding='utf-8')", "path.open('wb')", "path.open(mode='ab')",
        "path.read_bytes()", "subprocess.run(c)", "subprocess.run(c, text=True, encoding='utf-8')",
        "NamedTemporaryFile()", "open(p, **how)",
    ],
)  # fmt: skip
def test_other_calls_are_left_alone(call: str) -> None:
    assert list(_nameless(call)) == []
