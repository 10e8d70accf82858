"""Data sets of the Hugging Face hub, read by `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from lightkorllm.data.rows.base import Row
from lightkorllm.errors import DataBroken, MissingPackage


def read(name: str) -> Iterator[Row]:
    """The rows of the data set's `train` split, or of its only one.

    Raises `DataBroken` where it cannot be had; code that comes with a data set is never run.
    """
    try:
        datasets = import_module("datasets")
        errors = import_module("datasets.exceptions")
    except ImportError:
        raise MissingPackage("Hugging Face 데이터셋을 받는 datasets가", extra="train") from None
    try:
        splits = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError, errors.DatasetsError) as error:
        raise DataBroken(
            f"{name}: 그런 파일이 없고, Hugging Face에서도 받을 수 없습니다({error}). "
            "경로나 이름, 인터넷 연결을 확인하거나 데이터 파일을 내려받아 그 경로를 적어 주세요."
        ) from None
    for number, cells in enumerate(_split(splits, name), start=1):
        yield Row(number, cells)


def _split(splits: Any, name: str) -> Any:
    if "train" in splits:
        return splits["train"]
    if len(splits) == 1:
        return next(iter(splits.values()))
    raise DataBroken(
        f"{name}: train 부분이 없어 무엇을 쓸지 알 수 없습니다({', '.join(splits)}). "
        "쓸 부분을 파일로 내려받아 그 경로를 적어 주세요."
    )
