"""Parquet files, read by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from lightkorllm.data.rows.base import Row
from lightkorllm.errors import DataBroken, MissingPackage

MAGIC = b"PAR1"
_BATCH = 1024


def read(path: Path) -> Iterator[Row]:
    """The rows of a Parquet file, a batch at a time. Raises `DataBroken` where it is damaged."""
    try:
        pyarrow = import_module("pyarrow")
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingPackage("Parquet 파일을 읽는 pyarrow가", extra="train") from None
    number = 0
    try:
        with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(number, cells)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataBroken(
            f"{path}: Parquet 파일이 손상되었습니다({number:,}행 뒤, {error}). 다시 받아 주세요."
        ) from None
