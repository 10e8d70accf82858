"""Conversations: turns, exchanges, and composed Hangul."""

from __future__ import annotations

import unicodedata

import pytest

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import BadRequest


def test_adding_a_turn_leaves_the_old_conversation_as_it_was() -> None:
    first = Conversation.ask("안녕?", system="친절하게")
    second = first.add("assistant", "안녕하세요")
    assert [turn.text for turn in first.turns] == ["안녕?"]
    assert [turn.text for turn in second.turns] == ["안녕?", "안녕하세요"]
    assert second.system == "친절하게"


@pytest.mark.case("K12")
def test_decomposed_hangul_is_composed() -> None:
    asked = Conversation.ask(unicodedata.normalize("NFD", "한국어"), system="\u1100\u1161")
    assert (asked.turns[0].text, asked.system) == ("한국어", "가")


def test_an_exchange_begins_where_the_user_speaks_anew() -> None:
    talk = Conversation()
    for role, text in [("assistant", "어서 오세요"), ("user", "a"), ("user", "b")]:
        talk = talk.add(role, text)  # type: ignore[arg-type]
    talk = talk.add("assistant", "c").add("user", "d")
    assert [[turn.text for turn in group] for group in talk.exchanges] == [
        ["어서 오세요"],
        ["a", "b", "c"],
        ["d"],
    ]
    assert [turn.text for turn in talk.without_oldest(2).turns] == ["d"]
    assert talk.without_oldest(0) == talk


def test_a_role_that_nobody_has_is_refused() -> None:
    with pytest.raises(BadRequest, match="system"):
        Turn("system", "안녕")  # type: ignore[arg-type]
