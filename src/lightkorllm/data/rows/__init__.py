"""Any file becomes rows. What a file is, its content says; its name only where that is open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lightkorllm.data import encodings
from lightkorllm.data.rows import json_values, parquet, plain_text, table
from lightkorllm.data.rows.base import IsRow, Row
from lightkorllm.errors import DataBroken

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
TEXT_SUFFIXES = frozenset({".txt", ".md"})
DATA_SUFFIXES = JSON_SUFFIXES | {".csv", ".tsv", ".parquet"}

_JSON_START = re.compile(r'\s*(\[\s*)?\{\s*"')
_NOT_OURS = {
    b"PK\x03\x04": "엑셀·워드 문서나 ZIP 파일입니다. CSV UTF-8로 저장하거나 압축을 풀어 주세요.",
    b"\xd0\xcf\x11\xe0": "옛 엑셀(.xls) 파일입니다. 엑셀에서 CSV UTF-8로 저장해 주세요.",
    b"\x1f\x8b": "gzip으로 압축된 파일입니다. 압축을 풀어 주세요.",
    b"\x28\xb5\x2f\xfd": "zstd로 압축된 파일입니다. 압축을 풀어 주세요.",
    b"ARROW1": "Arrow 파일입니다. Parquet으로 저장해 주세요.",
}


def read(path: Path, *, is_row: IsRow) -> tuple[str, Iterator[Row]]:
    """A file's encoding (empty for Parquet) and its rows, which are read as they are asked for.

    `is_row` tells a row from an object that only holds rows. Raises `DataBroken`, also while the
    rows are read, where the file is damaged or is of no kind that we know.
    """
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(parquet.MAGIC):
        return "", parquet.read(path)
    for magic, advice in _NOT_OURS.items():
        if head.startswith(magic):
            raise DataBroken(f"{path}: {advice}")
    encoding = encodings.find(path)
    return encoding, _text_rows(path, encoding, is_row)


def _text_rows(path: Path, encoding: str, is_row: IsRow) -> Iterator[Row]:
    suffix = path.suffix.lower()
    with path.open(encoding=encoding, newline="") as stream:
        if suffix in JSON_SUFFIXES or _JSON_START.match(stream.read(4096)):
            return json_values.read(path, encoding, is_row=is_row)
    if suffix in TEXT_SUFFIXES:
        return plain_text.read(path, encoding)
    return table.read(path, encoding)
