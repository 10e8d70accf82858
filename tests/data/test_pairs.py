"""The questions and answers that ship: enough of them, Korean, clean, in two parts."""

from __future__ import annotations

import re
import unicodedata
from importlib.resources import files

import pytest

from lightkorllm import data
from lightkorllm.conversation import Conversation
from lightkorllm.data import Dataset, pairs
from lightkorllm.errors import DataBroken

PARTS = {"training": pairs.training, "held_out": pairs.held_out}
LABELS = re.compile(r"###|^\s*(사용자|질문|답변|답|AI|Q|A|User|Assistant)\s*[:：]", re.MULTILINE)
ENDS = re.compile(r"</s>|<\|[^|]*\|>|<eos>|<end_of_turn>")

part = pytest.mark.parametrize("part", PARTS)


def talks(found: Dataset) -> list[Conversation]:
    return [item for item in found.items if isinstance(item, Conversation)]


def questions(found: Dataset) -> set[str]:
    """Every question, alike whatever its signs and spaces."""
    asked = (turn.text for talk in talks(found) for turn in talk.turns if turn.role == "user")
    return {re.sub(r"\W", "", text) for text in asked}


@pytest.mark.parametrize(("part", "least"), [("training", 1200), ("held_out", 100)])
def test_there_are_enough_pairs_and_all_can_be_used(part: str, least: int) -> None:
    found = PARTS[part]()
    assert len(found.items) == len(talks(found)) >= least
    assert (found.faults, found.duplicates) == ((), 0)
    assert found.encoding == "utf-8"


def test_both_parts_share_no_question() -> None:
    first = {re.sub(r"\W", "", talk.turns[0].text) for talk in talks(pairs.held_out())}
    assert not first & questions(pairs.training())


@part
def test_every_kind_is_in_both_parts(part: str) -> None:
    folder = files("lightkorllm.data.pairs")
    names = {file.name for file in folder.joinpath(part).iterdir()}
    assert names == {file.name for file in folder.joinpath("training").iterdir()}
    assert len(names) >= 12


@part
def test_every_pair_is_korean_and_composed(part: str) -> None:
    texts = ["\n".join(turn.text for turn in talk.turns) for talk in talks(PARTS[part]())]
    for text in texts:
        assert re.search("[가-힣]{2}", text)
        assert unicodedata.is_normalized("NFC", text)
        assert "\ufffd" not in text
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    assert sum("가" <= letter <= "힣" for letter in letters) > 0.9 * len(letters)


@part
def test_files_hold_composed_text_as_they_lie(part: str) -> None:
    for file in files("lightkorllm.data.pairs").joinpath(part).iterdir():
        assert unicodedata.is_normalized("NFC", file.read_text(encoding="utf-8")), file.name


@part
def test_no_text_holds_a_role_label_or_an_end_marker(part: str) -> None:
    for talk in talks(PARTS[part]()):
        for turn in talk.turns:
            assert not LABELS.search(turn.text), turn.text
            assert not ENDS.search(turn.text), turn.text


@part
def test_users_ask_and_the_assistant_has_the_last_word(part: str) -> None:
    for talk in talks(PARTS[part]()):
        assert [turn.role for turn in talk.turns] == ["user", "assistant"] * (len(talk.turns) // 2)
        assert all(turn.text == turn.text.strip() for turn in talk.turns)


def test_they_are_loaded_by_a_name_that_is_no_path() -> None:
    assert data.load("builtin:pairs") == pairs.training()
    assert data.load("builtin:held_out") == pairs.held_out()
    assert pairs.training().source == "builtin:pairs"
    assert pairs.training().format == "messages"


def test_a_mistyped_name_is_told_the_right_ones() -> None:
    with pytest.raises(DataBroken, match="builtin:pairs, builtin:held_out"):
        data.load("builtin:pair")


def test_the_pairs_are_given_to_the_public_domain() -> None:
    told = files("lightkorllm.data.pairs").joinpath("README.md").read_text(encoding="utf-8")
    assert "CC0" in told
