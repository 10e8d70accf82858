"""Text files: each paragraph of a .txt is a row, a .md is one row as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from lightkorllm.data.rows.base import Row


def read(path: Path, encoding: str) -> Iterator[Row]:
    """Rows with the one column `text`. Paragraphs are parted by blank lines, which are dropped.

    Markdown stays whole, as its headings, lists and code belong together.
    """
    for number, text in enumerate(_texts(path, encoding), start=1):
        yield Row(number, {"text": text})


def _texts(path: Path, encoding: str) -> Iterator[str]:
    with path.open(encoding=encoding) as stream:
        if path.suffix.lower() == ".md":
            text = stream.read().rstrip()
            yield from [text] if text else []
            return
        for blank, lines in groupby(stream, key=str.isspace):
            if not blank:
                yield "".join(lines).rstrip()
