"""The record beside weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm import record
from lightkorllm.errors import ModelBroken
from lightkorllm.record import Record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Record(base="기본 모델", method="lora", prompt_format="lightkor", scores={"손실": 0.5})
    path = record.write(made, tmp_path)
    assert path == tmp_path / "lightkorllm.json"
    assert "기본 모델" in path.read_text(encoding="utf-8")
    assert record.read(tmp_path) == made


def test_a_file_has_its_record_beside_it_under_its_own_name(tmp_path: Path) -> None:
    model = tmp_path / "모델.gguf"
    assert record.write(Record(), model) == tmp_path / "모델.lightkorllm.json"
    assert record.read(model) == Record()
    assert record.read(tmp_path / "다른 모델.gguf") is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '"글"', '{"prompt_format": 3}', '{"settings": []}', "null"]
)
def test_what_is_not_a_record_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "lightkorllm.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelBroken, match=r"lightkorllm\.json"):
        record.read(tmp_path)


def test_keys_of_a_newer_version_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    text = '\ufeff{"prompt_format": "eeve", "새것": 1}'
    (tmp_path / "lightkorllm.json").write_text(text, encoding="utf-8")
    assert record.read(tmp_path) == Record(prompt_format="eeve")
