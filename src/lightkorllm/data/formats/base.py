"""The agreement of all row formats, and how a cell is read."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from lightkorllm.data.dataset import Item
from lightkorllm.errors import BadRequest

Cells = Mapping[str, Any]

SYSTEM_COLUMNS = ("system", "system_prompt", "시스템")

_UNUSABLE = re.compile("[\0\ud800-\udfff]")


class RowFormat(Protocol):
    """One shape of row. Where several formats match, the one of the highest `rank` reads.

    `matches` looks at which columns there are, not at whether they can be used; null is as good
    as absent. `read` raises `BadRequest` that names the column where the row cannot be used.
    Column names come in lower case, with `_` for spaces.
    """

    @property
    def name(self) -> str: ...

    @property
    def rank(self) -> int: ...

    def matches(self, cells: Cells) -> bool: ...

    def read(self, cells: Cells) -> Item: ...


def first(cells: Cells, names: Iterable[str]) -> str:
    """The first of these columns that the row has; empty where it has none."""
    return next((name for name in names if cells.get(name) is not None), "")


def text(cell: object, place: str) -> str:
    """A cell's text in NFC with `\\n` as the only line break; None is blank.

    Raises `BadRequest` where it is not text, or is text that no tokenizer can take.
    """
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise BadRequest(place, f"글이어야 합니다 (받은 것: {kind_of(cell)})")
    if _UNUSABLE.search(cell):
        raise BadRequest(place, "깨진 글자(NUL이나 짝이 없는 서로게이트)가 들어 있습니다")
    return unicodedata.normalize("NFC", cell.replace("\r\n", "\n").replace("\r", "\n"))


def filled(cell: object, place: str) -> str:
    """The same of a cell that must say something."""
    found = text(cell, place)
    if not found.strip():
        raise BadRequest(place, "비어 있습니다")
    return found


def required(cells: Cells, names: Sequence[str]) -> str:
    """The text in the first of these columns that the row has, which must say something."""
    column = first(cells, names) or next((name for name in names if name in cells), "")
    if not column:
        raise BadRequest(names[0], "없습니다")
    return filled(cells[column], column)


def system_of(cells: Cells) -> str:
    """The system text in a column of its own; empty where there is none."""
    name = first(cells, SYSTEM_COLUMNS)
    return text(cells.get(name), name)


def listed(cell: object, place: str) -> list[Any]:
    """A cell's list; in a table it is written as JSON. Blank is empty."""
    if isinstance(cell, str) and cell.strip():
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            raise BadRequest(place, "JSON 목록이어야 합니다 (표의 칸이라면 [{…}] 꼴)") from None
    if cell is None or cell == "" or isinstance(cell, str):
        return []
    if not isinstance(cell, list):
        raise BadRequest(place, f"목록이어야 합니다 (받은 것: {kind_of(cell)})")
    return cell


def kind_of(value: object) -> str:
    """What a value is, for a person."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "참/거짓"
    if isinstance(value, (int, float)):
        return "숫자"
    if isinstance(value, str):
        return "글"
    if isinstance(value, Mapping):
        return "객체"
    return "목록" if isinstance(value, (list, tuple)) else type(value).__name__
