"""JSON files: an array, values one after the other (JSONL), or one object that holds an array.

They are read value by value, so a large file is never in memory as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from lightkorllm.data.rows.base import IsRow, Row
from lightkorllm.errors import DataBroken

_BLOCK = 1 << 18  # characters
_BLANKS = re.compile("[ \t\r\n\ufeff]*")  # a mark may stand where files were joined
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # NaN is a blank cell of pandas
_CUT_NUMBER = 2  # `1e-` at the window's end reads as 1
_SAMPLE = 100


def read(path: Path, encoding: str, *, is_row: IsRow) -> Iterator[Row]:
    """The rows of a JSON file. Raises `DataBroken` naming the line where it is not JSON."""
    with path.open(encoding=encoding, newline="") as stream:
        scanner = _Scanner(stream, path)
        values = _rows(scanner) if scanner.peek() == "[" else _sequence(scanner, is_row)
        for number, value in enumerate(values, start=1):
            yield Row(number, value)


def _rows(scanner: _Scanner) -> Iterator[Any]:
    yield from _array(scanner)
    if scanner.peek():
        raise scanner.broken("배열이 끝난 뒤에 다른 내용이 있습니다")


def _array(scanner: _Scanner) -> Iterator[Any]:
    scanner.skip("[")
    if scanner.peek() != "]":
        yield scanner.value()
        while scanner.peek() == ",":
            scanner.skip(",")
            yield scanner.value()
    scanner.skip("]")


def _object(scanner: _Scanner) -> dict[str, Any]:
    """An object that may hold the whole file: its arrays are read value by value, too."""
    scanner.skip("{")
    members = [] if scanner.peek() == "}" else [_member(scanner)]
    while members and scanner.peek() == ",":
        scanner.skip(",")
        members.append(_member(scanner))
    scanner.skip("}")
    return dict(members)


def _member(scanner: _Scanner) -> tuple[str, Any]:
    name = scanner.value()
    if not isinstance(name, str):
        raise scanner.broken("이름이 와야 할 자리입니다")
    scanner.skip(":")
    return name, list(_array(scanner)) if scanner.peek() == "[" else scanner.value()


def _sequence(scanner: _Scanner, is_row: IsRow) -> Iterator[Any]:
    if not scanner.peek():
        return
    first = _object(scanner) if scanner.peek() == "{" else scanner.value()
    if not scanner.peek():
        yield from _held(first, scanner.path, is_row)
        return
    yield first
    while scanner.peek():
        yield scanner.value()


def _held(value: Any, path: Path, is_row: IsRow) -> list[Any]:
    """The rows of a file's only value: those it holds, or itself.

    A list in it is taken for the rows where what stands in the list reads as rows; a conversation
    of messages does not. Where neither reads as a row, its only list of objects is taken.
    """
    if not isinstance(value, Mapping):
        return [value]
    lists = {key: cell for key, cell in value.items() if _objects_in(cell)}
    full = [key for key, cell in lists.items() if any(map(is_row, _objects_in(cell)[:_SAMPLE]))]
    if not full and is_row(value):
        return [value]
    keys = full or list(lists)
    if len(keys) > 1:
        raise DataBroken(
            f"{path}: 배열이 여럿이라 무엇을 쓸지 알 수 없습니다({', '.join(keys)}). "
            "쓸 배열만 따로 저장해 주세요."
        )
    return list(lists[keys[0]]) if keys else [value]


def _objects_in(cell: Any) -> list[dict[str, Any]]:
    return [row for row in cell if isinstance(row, dict)] if isinstance(cell, list) else []


class _Scanner:
    """A window on a stream of JSON that moves on value by value and knows its line."""

    def __init__(self, stream: TextIO, path: Path) -> None:
        self.path = path
        self._stream = stream
        self._text = ""
        self._at = 0
        self._line = 1  # of the window's first character

    def peek(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self, sign: str) -> None:
        if self.peek() != sign:
            raise self.broken(f"{sign!r}가 와야 할 자리입니다")
        self._at += 1

    def value(self) -> Any:
        """The next value, whole: what fails at the window's end may only be cut off there."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self._broken_value(error) from None
                continue
            length = end - self._at
            if end + _CUT_NUMBER < len(self._text) or not self._more():
                self._at += length
                return value

    def broken(self, problem: str, *, at: int | None = None) -> DataBroken:
        line = self._line_of(self._at if at is None else at)
        return DataBroken(
            f"{self.path} {line:,}번째 줄: JSON이 깨져 있습니다. {problem}. "
            "그 줄을 고치거나 파일을 다시 받아 주세요."
        )

    def _broken_value(self, error: Exception) -> DataBroken:
        if isinstance(error, RecursionError):
            return self.broken("너무 깊게 겹쳐 있습니다")
        if not isinstance(error, json.JSONDecodeError):
            return self.broken(str(error))
        start = self._line_of(self._at)
        return self.broken(f"{start:,}번째 줄에서 시작한 값: {error.msg}", at=error.pos)

    def _line_of(self, place: int) -> int:
        return self._line + self._text.count("\n", 0, place)

    def _more(self) -> bool:
        """Widen the window, twofold at least; what lies behind is forgotten."""
        kept = self._text[self._at :]
        new = self._stream.read(max(_BLOCK, len(kept)))
        self._line += self._text.count("\n", 0, self._at)
        self._text, self._at = kept + new, 0
        return bool(new)
