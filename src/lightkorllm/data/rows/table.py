"""CSV and TSV: cells are the words that stand there, so `null` and `NA` are words, not blanks."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

from lightkorllm.data.rows.base import Row
from lightkorllm.errors import DataBroken

_DELIMITERS = ",\t;|"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LONGEST_CELL = (1 << 31) - 1  # csv's own limit of 131,072 is less than a long document


def read(path: Path, encoding: str) -> Iterator[Row]:
    """The rows below the heading; wholly blank ones are counted and left out.

    The delimiter is the one that parts the heading most. Raises `DataBroken` where the quoting is
    broken, as then no row is sure, or where two columns have one name.
    """
    with path.open(encoding=encoding, newline="") as stream, _long_cells():
        heading, skipped = _first_line(stream)
        delimiter = _delimiter(heading, path)
        records = csv.reader(chain([heading], stream), delimiter=delimiter, strict=True)
        start = skipped + 1
        try:
            names = _names(next(records, []), path)
            start = skipped + records.line_num + 1
            for number, cells in enumerate(records, start=1):
                start = skipped + records.line_num + 1
                if any(cell.strip() for cell in cells):
                    yield _row(number, names, cells)
        except csv.Error as error:
            raise DataBroken(
                f"{path} {start:,}번째 줄부터: 큰따옴표가 맞지 않습니다({error}). "
                '글 속의 큰따옴표는 두 번("") 쓰고, 열고 닫는 짝을 맞춰 주세요.'
            ) from None


def _first_line(stream: TextIO) -> tuple[str, int]:
    """The first line that is not blank, and how many were."""
    for skipped, line in enumerate(stream):
        if line.strip():
            return line, skipped
    return "", 0


def _delimiter(heading: str, path: Path) -> str:
    plain = _QUOTED.sub("", heading)
    best = max(_DELIMITERS, key=plain.count)
    if best in plain:
        return best
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _names(heading: Sequence[str], path: Path) -> tuple[str, ...]:
    names = tuple(name.strip() for name in heading)
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise DataBroken(
            f"{path}: 이름이 같은 열이 둘 이상입니다({', '.join(twice)}). 하나만 남겨 주세요."
        )
    return names


def _row(number: int, names: Sequence[str], cells: Sequence[str]) -> Row:
    """A cell too many means that a text with the delimiter in it was not quoted."""
    spare = cells[len(names) :]
    if any(cell.strip() for cell in spare):
        return Row(
            number,
            {},
            f"칸이 열 이름보다 많습니다({len(names)}개여야 하는데 {len(cells)}개). "
            "쉼표나 탭이 든 글은 큰따옴표로 감싸 주세요",
        )
    blanks = [""] * (len(names) - len(cells))
    named = zip(names, [*cells, *blanks], strict=False)
    return Row(number, {name: cell for name, cell in named if name})


@contextmanager
def _long_cells() -> Iterator[None]:
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
