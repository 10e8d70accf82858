"""Calibration rows: whole, of one length, rendered as the model will be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tiny
from lightkorllm import prompts
from lightkorllm.conversation import Conversation
from lightkorllm.data import Document, corpus
from lightkorllm.prompts.base import Settings
from lightkorllm.quantization.calibration import Share, rows_of

LIGHTKOR = prompts.get("lightkor", Settings())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny.tokenizer(tmp_path_factory.mktemp("tokenizer"))


def _rows(tokenizer: Any, *items: Any, rows: int = 100, length: int = 64, seed: int = 0) -> Any:
    return rows_of(Share(items, rows), tokenizer, LIGHTKOR, length=length, seed=seed)[0]


def test_every_row_has_the_wanted_length_and_begins_with_bos(tokenizer: Any) -> None:
    rows = _rows(tokenizer, *corpus.passages("calibration", language="ko"))
    assert len(rows) == 100
    assert {len(row) for row in rows} == {64}
    assert {row[0] for row in rows} == {tokenizer.bos_token_id}
    assert all(row.count(tokenizer.bos_token_id) == 1 for row in rows)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(tokenizer: Any) -> None:
    items = corpus.passages("calibration", language="ko")
    assert _rows(tokenizer, *items, seed=3) == _rows(tokenizer, *items, seed=3)
    assert _rows(tokenizer, *items, seed=3) != _rows(tokenizer, *items, seed=4)


def test_a_conversation_is_written_in_the_models_prompt_format_and_closed(tokenizer: Any) -> None:
    talk = Conversation.ask("서울은 어디에 있나요?").add("assistant", "한반도 가운데에 있습니다.")
    (row,) = _rows(tokenizer, talk, length=512)
    told = tokenizer.decode(row[1:-1])
    assert told == LIGHTKOR.render(talk).text
    assert row[-1] == tokenizer.eos_token_id


def test_too_little_text_makes_one_short_row(tokenizer: Any) -> None:
    (row,) = _rows(tokenizer, Document("짧은 글"))
    assert 2 < len(row) < 64


def test_a_conversation_that_its_format_cannot_hold_is_counted(tokenizer: Any) -> None:
    nobody = Conversation(turns=())
    rows, skipped = rows_of(
        Share([nobody, Document("가" * 200)], 5), tokenizer, LIGHTKOR, length=32, seed=0
    )
    assert rows
    assert skipped == 1


def test_a_folder_without_a_bos_gives_rows_without_one(tokenizer: Any, tmp_path: Path) -> None:
    plain = tiny.tokenizer(tmp_path)
    plain.bos_token = None
    rows = _rows(plain, *corpus.passages("calibration", language="en"))
    assert {len(row) for row in rows} == {64}
