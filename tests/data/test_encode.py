"""Encoding: what is learned, what closes it, and that training sees the ids that engines get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoints
import tiny
from lightkorllm import pretrained, prompts
from lightkorllm.conversation import Conversation, Turn
from lightkorllm.data import Document, Item, corpus
from lightkorllm.data.encode import IGNORED, Encoded, Encoder
from lightkorllm.errors import DataBroken
from lightkorllm.prompts.base import Settings
from lightkorllm.vocabulary import ENDS_OF_TURN, Vocabulary

UNHURRIED = settings(deadline=None, max_examples=40)

TOKENIZERS: dict[str, Callable[[Path], Any]] = {
    "byte-level": tiny.tokenizer,
    "byte-fallback": checkpoints.byte_fallback,
    "joining": checkpoints.joining,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n"
    "{{ message.content | trim }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

TEXTS = st.text(alphabet="가힣뷁ㅋ 한다.\n\t:#?!AI1漢👋🏽", max_size=20)
SAID = TEXTS.filter(str.strip)
TALKS = st.builds(
    lambda system, pairs: Conversation(
        system,
        tuple(turn for q, a in pairs for turn in (Turn("user", q), Turn("assistant", a))),
    ),
    TEXTS,
    st.lists(st.tuples(TEXTS, SAID), min_size=1, max_size=3),
)
TALK = Conversation.ask("대한민국의 수도는?").add("assistant", "서울입니다.")
LONG_TALK = (
    Conversation.ask("안녕하세요?", system="짧게 답해 줘.")
    .add("assistant", "반갑습니다.")
    .add("user", "이름이 뭐예요?")
    .add("assistant", "저는 인공지능입니다.")
)

every_tokenizer = pytest.mark.parametrize("kind", TOKENIZERS)
every_format = pytest.mark.parametrize("name", prompts.names())


@cache
def vocabulary(kind: str) -> Vocabulary:
    with TemporaryDirectory() as folder:
        TOKENIZERS[kind](Path(folder))
        return Vocabulary(pretrained.load_tokenizer(Path(folder)))


def encoder(kind: str, name: str = "lightkor", **settings: Any) -> Encoder:
    tokens = vocabulary(kind)
    known = Settings(chat_template=TEMPLATE, bos=tokens.bos, eos=tokens.eos)
    return Encoder(tokens, prompts.get(name, known), **settings)


def spelled(tokens: Vocabulary, ids: tuple[int, ...] | list[int]) -> str:
    """The text of ids, special tokens left out."""
    return b"".join(map(tokens.token_bytes, ids)).decode("utf-8")


def asked(talk: Conversation) -> Conversation:
    """What an engine is asked when the last answer is still to come."""
    return replace(talk, turns=talk.turns[:-1])


def learned(row: Encoded) -> list[int]:
    return [number for number in row.labels if number != IGNORED]


# --- the same ids as in serving ------------------------------------------------------------------


@every_tokenizer
@every_format
@UNHURRIED
@given(talk=TALKS)
def test_what_stands_before_the_last_answer_are_the_ids_that_engines_get(
    kind: str, name: str, talk: Conversation
) -> None:
    making = encoder(kind, name)
    row = making.row(talk)
    prompt = making.vocabulary.encode(making.prompt_format.render(asked(talk)).text)
    assert list(row.ids[: len(prompt)]) == prompt
    assert all(row.learned[len(prompt) :])


@every_tokenizer
@every_format
@UNHURRIED
@given(talk=TALKS)
def test_the_answer_is_learned_as_it_was_written(kind: str, name: str, talk: Conversation) -> None:
    making = encoder(kind, name)
    tokens = making.vocabulary
    row = making.row(talk)
    start = len(tokens.encode(making.prompt_format.render(asked(talk)).text))
    *_, answer = (p.text for p in making.prompt_format.render(talk).pieces if p.learned)
    plain = answer
    for end in {tokens.eos, *ENDS_OF_TURN}:
        special = tokens.encode(end)[tokens.adds_bos :]
        if len(special) == 1 and special[0] in tokens.ends:
            plain = plain.replace(end, "")
    assert spelled(tokens, row.ids[start:]).strip(" ") == plain.strip(" ")


@pytest.mark.parametrize("answer", ["\n네", "\n\n네", "네", " 네", "\t네", ".네", "\n"])
@every_tokenizer
def test_an_answer_that_the_tokenizer_would_join_to_its_prompt_is_spelled_apart(
    kind: str, answer: str
) -> None:
    making = encoder(kind)
    tokens = making.vocabulary
    talk = Conversation.ask("안녕?").add("assistant", answer + "끝")
    prompt = tokens.encode(making.prompt_format.render(asked(talk)).text)
    row = making.row(talk)
    assert list(row.ids[: len(prompt)]) == prompt
    assert spelled(tokens, row.ids[len(prompt) :]) == answer + "끝"
    assert row.ids.count(tokens.encode("")[0]) == tokens.adds_bos


def test_the_third_tokenizer_does_join_them() -> None:
    tokens = vocabulary("joining")
    text = "AI:\n"
    assert tokens.encode(text + "\n네")[: len(tokens.encode(text))] != tokens.encode(text)


# --- what is learned -----------------------------------------------------------------------------


@pytest.mark.case("F04")
@every_tokenizer
@every_format
def test_every_answer_is_learned_whatever_marker_and_sign_stand_before_it(
    kind: str, name: str
) -> None:
    talks = [
        Conversation.ask(f"질문{end}").add("assistant", f"{start}답{end}")
        for end in ("", ".", "?\n", "\n\n", " ", "다. ", ":")
        for start in ("", " ", "\n", "### 답변: ", "- ")
    ]
    made = encoder(kind, name).encode([*talks, *corpus_talks()])
    assert len(made.rows) == len(talks) + len(corpus_talks())
    for row in made.rows:
        assert 0 < sum(row.learned) < len(row.ids)


def corpus_talks() -> list[Conversation]:
    found = corpus.passages("held_out", language="ko")
    return [item for item in found if isinstance(item, Conversation)]


@every_tokenizer
def test_all_answers_of_a_conversation_are_learned_and_nothing_else(kind: str) -> None:
    tokens = vocabulary(kind)
    row = encoder(kind).row(LONG_TALK)
    told = spelled(tokens, learned(row))
    # A token that joins an answer's last sign with what follows is not the answer's alone.
    assert told.replace(" ", "") in (
        "반갑습니다.저는인공지능입니다.",
        "반갑습니다저는인공지능입니다.",
    )
    assert row.labels.count(IGNORED) == row.learned.count(False) > 0


@every_tokenizer
def test_labels_are_the_ids_or_ignored(kind: str) -> None:
    row = encoder(kind).row(TALK)
    pairs = zip(row.ids, row.learned, row.labels, strict=True)
    assert all(label == (number if says else -100) for number, says, label in pairs)


@every_tokenizer
def test_with_learn_all_the_questions_are_learned_too_but_not_bos(kind: str) -> None:
    tokens = vocabulary(kind)
    making = encoder(kind, learn_all=True)
    row = making.row(LONG_TALK)
    assert row.ids == encoder(kind).row(LONG_TALK).ids
    assert spelled(tokens, learned(row)).strip() == making.prompt_format.render(LONG_TALK).text
    assert row.learned.count(False) == tokens.adds_bos


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.case("F01")
@every_tokenizer
@every_format
def test_the_last_label_is_the_end_also_where_padding_is_the_same_token(
    kind: str, name: str, tmp_path: Path
) -> None:
    tokenizer = TOKENIZERS[kind](tmp_path)
    tokenizer.pad_token = tokenizer.eos_token
    tokens = Vocabulary(tokenizer)
    known = Settings(chat_template=TEMPLATE, bos=tokens.bos, eos=tokens.eos)
    for row in Encoder(tokens, prompts.get(name, known)).encode([TALK, LONG_TALK]).rows:
        assert row.labels[-1] == row.ids[-1] == tokenizer.eos_token_id


@pytest.mark.case("F02")
@every_tokenizer
@every_format
@pytest.mark.parametrize(
    "end", ["</s>", "<|endoftext|>", " </s>\n", "</s></s>", "<|im_end|>", "<eos>", "<end_of_turn>"]
)
def test_an_end_spelled_out_in_the_data_becomes_the_one_end_token(
    kind: str, name: str, end: str
) -> None:
    tokens = vocabulary(kind)
    plain = encoder(kind, name).encode([TALK])
    talk = Conversation.ask(TALK.turns[0].text).add("assistant", TALK.turns[1].text + end)
    made = encoder(kind, name).encode([talk])
    assert made.rows == plain.rows
    assert made.rows[0].ids[-1] == tokens.eos_id
    assert made.rows[0].ids.count(tokens.eos_id or 0) == 1
    assert (made.literal_ends, plain.literal_ends) == (1, 0)
    assert "끝 표시" in made.lines()[0]


@every_tokenizer
def test_ends_are_counted_answer_by_answer_and_document_by_document(kind: str) -> None:
    talk = Conversation.ask("하나").add("assistant", "일</s>").add("user", "둘</s>")
    items: list[Item] = [talk.add("assistant", "이</s> "), Document("글</s>"), Document("글")]
    made = encoder(kind).encode(items)
    assert made.literal_ends == 3
    assert [row.ids[-1] for row in made.rows] == [vocabulary(kind).eos_id] * 3


@every_format
def test_an_answer_that_was_nothing_but_an_end_is_blank(name: str) -> None:
    nothing = Conversation.ask("질문").add("assistant", "</s>")
    made = encoder("byte-level", name).encode([nothing, TALK])
    assert [(drop.item, drop.reason) for drop in made.dropped] == [(0, "blank")]
    assert made.items == (1,)


def test_a_format_that_closes_its_answers_itself_gets_no_second_end(tmp_path: Path) -> None:
    fast = tiny.tokenizer(tmp_path)
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    fast.save_pretrained(tmp_path)
    tokens = Vocabulary(pretrained.load_tokenizer(tmp_path))
    row = Encoder(tokens, prompts.get("chatml", Settings())).row(LONG_TALK)
    end = fast.convert_tokens_to_ids("<|im_end|>")
    assert row.labels[-1] == end
    assert learned(row).count(end) == 2
    assert tokens.eos_id not in row.ids


# --- one BOS -------------------------------------------------------------------------------------


@pytest.mark.case("F07")
@every_tokenizer
@every_format
def test_there_is_one_bos_in_training_and_in_serving(kind: str, name: str) -> None:
    making = encoder(kind, name)
    tokens = making.vocabulary
    text = making.prompt_format.render(asked(TALK)).text
    wanted = int(tokens.adds_bos or text.startswith(tokens.bos))
    bos = tokens.encode(tokens.bos)[0]
    assert tokens.encode(text).count(bos) == wanted
    assert making.row(TALK).ids.count(bos) == wanted
    assert making.encode([Document("서울")]).rows[0].ids.count(bos) == tokens.adds_bos


# --- too long ------------------------------------------------------------------------------------


@pytest.mark.case("F06")
@every_tokenizer
def test_what_is_too_long_is_dropped_and_counted_and_never_cut(kind: str) -> None:
    whole = encoder(kind).encode([TALK, LONG_TALK])
    short, long = (len(row.ids) for row in whole.rows)
    made = encoder(kind, length=long - 1).encode([TALK, LONG_TALK, LONG_TALK])
    assert made.rows == whole.rows[:1]
    assert [(drop.item, drop.reason, drop.tokens) for drop in made.dropped] == [
        (1, "long", long),
        (2, "long", long),
    ]
    assert made.lines() == ["2개는 너무 길어서 뺐습니다."]
    assert str(made.dropped[0]) == f"2번째: 너무 길어서 뺐습니다 ({long:,}토큰)"
    assert encoder(kind, length=long).encode([LONG_TALK]).rows == whole.rows[1:]
    assert short < long


@every_tokenizer
def test_where_everything_is_too_long_the_lengths_are_told(kind: str) -> None:
    lengths = sorted(len(row.ids) for row in encoder(kind).encode([TALK, LONG_TALK]).rows)
    with pytest.raises(DataBroken, match=f"가장 짧은 것 {lengths[0]}, 가장 긴 것 {lengths[1]}토큰"):
        encoder(kind, length=9).encode([TALK, LONG_TALK])


def test_where_nothing_can_be_learned_the_reason_is_told() -> None:
    with pytest.raises(DataBroken, match="1번째: 배울 답이 없어서"):
        encoder("byte-level").encode([Conversation.ask("질문만 있습니다")])


def test_a_conversation_that_its_format_refuses_is_dropped_with_the_formats_reason() -> None:
    refusing = Settings(chat_template="{{ raise_exception('안 됩니다') }}")
    making = Encoder(vocabulary("byte-level"), prompts.get("template", refusing))
    made = making.encode([TALK, Document("글은 됩니다")])
    assert made.items == (1,)
    assert "안 됩니다" in str(made.dropped[0])


# --- documents -----------------------------------------------------------------------------------


@every_tokenizer
@pytest.mark.parametrize("length", [0, 8, 9, 31, 10_000])
def test_a_document_is_learned_whole_in_windows_that_end_only_at_its_end(
    kind: str, length: int
) -> None:
    tokens = vocabulary(kind)
    texts = ["서울은 대한민국의 수도이다. 한강이 흐른다.\n\n" * 3, "짧은 글", "가"]
    made = encoder(kind, length=length).encode([Document(text) for text in texts])
    assert max(len(row.ids) for row in made.rows) <= (length or 10_000)
    for place, text in enumerate(texts):
        rows = [row for item, row in zip(made.items, made.rows, strict=True) if item == place]
        joined = [number for row in rows for number in row.ids[tokens.adds_bos :]]
        whole = [*tokens.encode(text), tokens.eos_id][tokens.adds_bos :]
        assert joined in (whole, whole[:-1])  # an end left alone is not a row
        assert all(tokens.eos_id not in row.ids[:-1] for row in rows)
        for row in rows:
            assert row.learned == (
                *[False] * tokens.adds_bos,
                *[True] * (len(row.ids) - tokens.adds_bos),
            )
    assert made.tokens == sum(len(row.ids) for row in made.rows)
    assert made.learned_tokens == made.tokens - tokens.adds_bos * len(made.rows)


@every_tokenizer
def test_no_window_teaches_that_a_text_is_nothing_but_its_end(kind: str) -> None:
    for length in range(8, 30):
        made = encoder(kind, length=length).encode([Document("서울은 대한민국의 수도이다. " * 5)])
        assert all(sum(row.learned) > 1 for row in made.rows)
