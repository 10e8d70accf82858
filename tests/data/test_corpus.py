"""The texts that ship: enough of them, Korean, varied, and two parts that never meet."""

from __future__ import annotations

import re
import unicodedata
from importlib.resources import files

import pytest

from lightkorllm.conversation import Conversation
from lightkorllm.data import Document, Item, corpus
from lightkorllm.data.corpus import Part

PARTS: tuple[Part, ...] = ("calibration", "held_out")


def _text(item: Item) -> str:
    if isinstance(item, Document):
        return item.text
    return "\n".join((item.system, *(turn.text for turn in item.turns)))


def _sentences(part: Part) -> set[str]:
    texts = (*corpus.passages(part, language="ko"), *corpus.passages(part, language="en"))
    parts = (piece.strip() for item in texts for piece in re.split(r"[.?!\n]", _text(item)))
    return {piece for piece in parts if len(piece) >= 20}


def test_there_are_400_korean_passages_in_at_least_twelve_registers() -> None:
    found = corpus.registers("calibration", language="ko")
    assert sum(map(len, found.values())) >= 400
    assert len(found) >= 12
    assert min(map(len, found.values())) >= 25


def test_calibration_and_held_out_parts_share_no_sentence() -> None:
    shared = _sentences("calibration") & _sentences("held_out")
    assert not shared


@pytest.mark.parametrize("part", PARTS)
def test_every_register_is_in_both_parts(part: Part) -> None:
    assert set(corpus.registers(part, language="ko")) == set(
        corpus.registers("calibration", language="ko")
    )
    assert corpus.passages(part, language="en")


@pytest.mark.parametrize("part", PARTS)
def test_korean_passages_are_mostly_hangul_and_composed(part: Part) -> None:
    text = corpus.text(part, language="ko")
    letters = [letter for letter in text if letter.isalpha()]
    assert sum("가" <= letter <= "힣" for letter in letters) > 0.7 * len(letters)
    assert unicodedata.is_normalized("NFC", text)
    assert "\ufffd" not in text


def test_conversations_end_with_an_answer() -> None:
    talks = [
        x for x in corpus.passages("calibration", language="ko") if isinstance(x, Conversation)
    ]
    assert len(talks) >= 50
    assert all(talk.turns[-1].role == "assistant" for talk in talks)
    assert any(talk.system for talk in talks)


def test_the_corpus_is_given_to_the_public_domain() -> None:
    told = files("lightkorllm.data.corpus").joinpath("README.md").read_text(encoding="utf-8")
    assert "CC0" in told
