"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightkorllm import errors
from lightkorllm.errors import LightKorError

ROOT = Path(__file__).parent.parent
README = {"ko": ROOT / "README.md", "en": ROOT / "README.en.md"}
DOCS = {"ko": ROOT / "docs", "en": ROOT / "docs" / "en"}
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Block:
    """A fenced block: the words behind its opening fence and the text inside."""

    info: str
    text: str


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page(name: str, language: str) -> str:
    return read(DOCS[language] / name)


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(info, inside) for info, inside in found]


def block(text: str, info: str) -> str:
    (inside,) = (found.text for found in blocks(text) if found.info == info)
    return inside


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def row(text: str, name: str) -> list[str]:
    """The one row whose first cell names `name` in code."""
    (found,) = (cells for cells in rows(text) if f"`{name}`" in cells[0])
    return found


def error_classes(root: type[LightKorError] = LightKorError) -> Iterator[type[LightKorError]]:
    """The whole tree of `errors.py`."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from error_classes(kind)
