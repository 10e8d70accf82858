"""From a path or a Hugging Face name to a data set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lightkorllm.data import folder, formats, rows
from lightkorllm.data.dataset import Dataset, Fault, Item
from lightkorllm.data.formats.base import Cells, RowFormat, kind_of
from lightkorllm.data.rows import hub
from lightkorllm.data.rows.base import Row
from lightkorllm.errors import BadRequest, DataBroken

AUTO = "auto"
TRAINING, HELD_OUT = "builtin:pairs", "builtin:held_out"  # names of the pairs that we ship
_SAMPLE = 100  # rows from which the format is found out
_SHIPPED = {TRAINING: "training", HELD_OUT: "held_out"}
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def load(
    source: str | Path, *, format: str = AUTO, columns: Mapping[str, str] | None = None
) -> Dataset:
    """The data set in a file, in a folder, or of a Hugging Face name such as `owner/name`.

    `builtin:pairs` and `builtin:held_out` are the Korean questions and answers that we ship.

    `format` forces one of `formats.names()`; `columns` maps the file's column names to ours, such
    as `{"문의": "question"}`. Rows that cannot be used are told in `faults`. Raises `DataBroken`
    where a file cannot be read as a whole or none of its rows can be used, `MissingPackage` where
    reading it needs a package that is not there, and `OptionError` for an unknown format.
    """
    reader = _Reader(None if format == AUTO else formats.get(format), columns or {})
    if not str(source).strip():
        raise DataBroken("데이터 경로가 비어 있습니다. 파일이나 폴더의 경로를 적어 주세요.")
    if shipped := _SHIPPED.get(str(source)):
        return replace(load(Path(__file__).parent / "pairs" / shipped), source=str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        return _joined([reader.file(file) for file in folder.files(path)], path)
    if path.exists():
        return reader.file(path)
    if _is_hub_name(str(source)):
        return reader.dataset(hub.read(str(source)), source=str(source))
    if str(source).startswith("builtin:"):
        raise DataBroken(f"{source}: 함께 들어 있는 데이터는 {', '.join(_SHIPPED)} 둘입니다.")
    raise DataBroken(f"{source}: 그런 파일이나 폴더가 없습니다. 경로를 확인해 주세요.")


def _is_hub_name(name: str) -> bool:
    """A mistyped path is not looked up: neither a file's name nor what an own folder would hold."""
    if not _HUB_NAME.fullmatch(name) or Path(name).parent.exists():
        return False
    return Path(name).suffix.lower() not in rows.DATA_SUFFIXES | rows.TEXT_SUFFIXES


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads rows in one `format` (None: found out from the rows) after renaming `columns`."""

    format: RowFormat | None
    columns: Mapping[str, str]

    def file(self, path: Path) -> Dataset:
        try:
            encoding, found = rows.read(path, is_row=self._is_row)
            return self.dataset(found, source=str(path), encoding=encoding)
        except OSError as error:
            raise DataBroken(f"{path} 파일을 읽을 수 없습니다 ({error.strerror}).") from None

    def dataset(self, found: Iterator[Row], *, source: str, encoding: str = "") -> Dataset:
        head = list(islice(found, _SAMPLE))
        if not head:
            raise DataBroken(f"{source}: 비어 있습니다. 데이터가 한 행 이상 있어야 합니다.")
        self._refuse_unknown_columns(head, source)
        form = self.format or self._format_of(head, source)
        items: list[Item] = []
        numbers: list[int] = []
        faults: list[Fault] = []
        for row in chain(head, found):
            try:
                items.append(self._item(row, form))
            except BadRequest as problem:
                faults.append(Fault(row.number, problem.message))
            else:
                numbers.append(row.number)
        dataset = Dataset(
            tuple(items), form.name, tuple(faults), source, encoding, rows=tuple(numbers)
        )
        if not items:
            raise _nothing_usable(dataset)
        return dataset

    def _item(self, row: Row, form: RowFormat) -> Item:
        if row.problem:
            raise BadRequest("", row.problem)
        if not isinstance(row.cells, Mapping):
            raise BadRequest("", f"행은 객체여야 합니다 (받은 것: {kind_of(row.cells)})")
        return form.read(self._named(row.cells))

    def _named(self, cells: Mapping[str, Any]) -> Cells:
        """The cells under our names: without case, spaces and NFD, and renamed."""
        ours = {_plain(theirs): name for theirs, name in self.columns.items()}
        named = {_plain(name): cell for name, cell in cells.items()}
        renamed = {ours[name]: cell for name, cell in named.items() if name in ours}
        kept = {name: cell for name, cell in named.items() if name and name not in ours}
        return kept | renamed

    def _refuse_unknown_columns(self, head: Sequence[Row], source: str) -> None:
        there = {
            _plain(name) for row in head if isinstance(row.cells, Mapping) for name in row.cells
        }
        if unknown := [name for name in self.columns if _plain(name) not in there]:
            raise DataBroken(
                f"{source}: columns에 적은 열이 없습니다({', '.join(unknown)}). "
                f"있는 열: {_columns_in([dict.fromkeys(sorted(there))])}."
            )

    def _is_row(self, cells: Mapping[str, Any]) -> bool:
        known = [self.format] if self.format else formats.known()
        return any(form.matches(self._named(cells)) for form in known)

    def _format_of(self, head: Sequence[Row], source: str) -> RowFormat:
        cells = [self._named(row.cells) for row in head if isinstance(row.cells, Mapping)]
        if form := formats.find(cells):
            return form
        raise DataBroken(
            f"{source}: 어떤 데이터 형식인지 알 수 없습니다. 찾은 열: {_columns_in(cells)}. "
            "열 이름을 instruction/output, messages, conversations, question/answer, text 등으로 "
            "바꿔 주세요(표라면 첫 줄이 열 이름이어야 합니다)."
        )


def _columns_in(rows: Iterable[Cells]) -> str:
    seen = list(dict.fromkeys(name for row in rows for name in row if name))
    few = [f"{name[:20]}…" if len(name) > 20 else name for name in seen[:10]]
    return ", ".join(few + ["…"] * (len(seen) > 10)) or "없음"


@lru_cache(maxsize=256)
def _plain(name: str) -> str:
    plain = unicodedata.normalize("NFC", name).strip("\ufeff \t\r\n").casefold()
    return re.sub(r"[\s-]+", "_", plain)


def _nothing_usable(dataset: Dataset) -> DataBroken:
    few = " / ".join(map(str, dataset.faults[:3]))
    return DataBroken(
        f"{dataset.source}: 쓸 수 있는 행이 하나도 없습니다({dataset.format} 형식, "
        f"{len(dataset.faults):,}행). {few}"
    )


def _joined(parts: Sequence[Dataset], path: Path) -> Dataset:
    """One data set of a folder's files; the faults say which file they are in."""
    names = [Path(part.source).relative_to(path).as_posix() for part in parts]
    return Dataset(
        items=tuple(item for part in parts for item in part.items),
        format=_names(part.format for part in parts),
        faults=tuple(
            replace(fault, file=name)
            for name, part in zip(names, parts, strict=True)
            for fault in part.faults
        ),
        source=str(path),
        encoding=_names(part.encoding for part in parts),
        rows=tuple(row for part in parts for row in part.rows),
        files=tuple((name, len(part.items)) for name, part in zip(names, parts, strict=True)),
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))
