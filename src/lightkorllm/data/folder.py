"""Which files of a folder are its data."""

from __future__ import annotations

from pathlib import Path

from lightkorllm.data.rows import DATA_SUFFIXES, TEXT_SUFFIXES
from lightkorllm.errors import DataBroken


def files(folder: Path) -> tuple[Path, ...]:
    """The data files in a folder and the folders in it, in the order of their names.

    Hidden ones are left out. Beside tables and JSON, text files are taken for notes (README.md,
    LICENSE.txt) and left out too. Raises `DataBroken` where nothing is left.
    """
    seen = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(_is_hidden(part) for part in path.relative_to(folder).parts)
    )
    for suffixes in (DATA_SUFFIXES, TEXT_SUFFIXES):
        if found := tuple(path for path in seen if path.suffix.lower() in suffixes):
            return found
    known = ", ".join(sorted(DATA_SUFFIXES | TEXT_SUFFIXES))
    raise DataBroken(f"{folder} 폴더에 데이터 파일이 없습니다. 읽을 수 있는 확장자: {known}")


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))
