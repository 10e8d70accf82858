"""The record `lightkorllm.json` beside weights: how they were made and how to speak to them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightkorllm.errors import ModelBroken

FILE_NAME = "lightkorllm.json"


@dataclass(frozen=True, slots=True)
class Record:
    """How weights or an adapter were made. Empty values mean "not known".

    `method` is one of gptq, lora, gguf; `settings` are the options as resolved; `versions` maps
    package names to versions; `scores` maps measure names to numbers.
    """

    base: str = ""
    method: str = ""
    prompt_format: str = ""
    data_fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


def path_beside(model: Path) -> Path:
    """Where the record of a model lies: in a folder, or beside a file under the file's own name."""
    if model.is_dir():
        return model / FILE_NAME
    return model.with_name(f"{model.stem}.{FILE_NAME}")


def read(model: Path) -> Record | None:
    """The record of a model file or folder; None where there is none.

    Keys of a newer version are skipped. Raises `ModelBroken` where the file is not a record.
    """
    path = path_beside(model)
    if not path.is_file():
        return None
    try:
        record = _from_json(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, TypeError):
        raise ModelBroken(f"{path} 파일이 올바른 기록이 아닙니다. 고치거나 지워 주세요.") from None
    if not isinstance(record.prompt_format, str):
        raise ModelBroken(f"{path}의 prompt_format은 문자열이어야 합니다.")
    if not isinstance(record.settings, dict):
        raise ModelBroken(f"{path}의 settings는 객체여야 합니다.")
    return record


def _from_json(values: Any) -> Record:
    if not isinstance(values, dict):
        raise TypeError("a record is an object")
    return Record(**{f.name: values[f.name] for f in fields(Record) if f.name in values})


def write(record: Record, model: Path) -> Path:
    """Write a record beside a model; the path it was written to."""
    path = path_beside(model)
    text = json.dumps(asdict(record), ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Those of the packages that are installed, with their versions."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
