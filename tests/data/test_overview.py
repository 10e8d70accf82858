"""The overview: counts, lengths, bars, what repeats, and rows as the model will see them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import checkpoints
import tiny
from lightkorllm import data, pretrained, prompts
from lightkorllm.conversation import Conversation
from lightkorllm.data import Dataset, Document, Item, overview, preview
from lightkorllm.data.encode import Encoder
from lightkorllm.data.overview import Bar
from lightkorllm.data.preview import Part, Preview
from lightkorllm.errors import DataBroken
from lightkorllm.prompts.base import PromptFormat, Settings
from lightkorllm.vocabulary import Vocabulary

LIGHTKOR = prompts.get("lightkor", Settings())
TALK = Conversation.ask("대한민국의 수도는?").add("assistant", "서울입니다.")
LONG = TALK.add("user", "왜 그런가요?").add("assistant", "오래전부터 나라의 중심이었습니다.")


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def seen(*items: Item, rows: int = 3, form: PromptFormat = LIGHTKOR, **options: Any) -> Preview:
    return preview.by_characters(items, form, rows=rows, **options)


# --- lengths -------------------------------------------------------------------------------------


def test_lengths_in_one_number_each() -> None:
    found = overview.measure([*range(1, 100), 1000])
    assert (found.minimum, found.median, found.p95, found.maximum) == (1, 50.5, 95, 1000)
    assert (found.mean, found.total) == (59.5, 5950)
    assert overview.measure([7]).p95 == 7


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_bars_hold_every_length_once_and_meet_without_a_gap(lengths: list[int]) -> None:
    bars = overview.histogram(lengths)
    assert sum(bar.count for bar in bars) == len(lengths)
    assert len(bars) <= 10
    for bar in bars:
        high = bar.high if bar.high is not None else max(lengths)
        assert bar.count == sum(bar.low <= length <= high for length in lengths)
    for bar, following in pairwise(bars):
        assert bar.high is not None
        assert bar.high + 1 == following.low


def test_one_length_far_out_does_not_flatten_the_bars() -> None:
    bars = overview.histogram([10, 20, 30, 40] * 25 + [100_000])
    assert bars[-1] == Bar(50, None, 1)
    assert len(bars) == 5


def test_bars_are_drawn_in_signs_that_cp949_has_and_numbers_stand_in_columns() -> None:
    items = [Document("가" * length) for length in [5] * 3 + [55] * 1000 + [99] * 10]
    told = overview.preview_lines(Dataset(tuple(items), "text"), seen(*items))
    bars = [line for line in told if "■" in line]
    assert len({line.index(" ■") for line in bars}) == 1
    assert max(line.count("■") for line in bars) == 30
    assert "\n".join(told).encode("cp949")


# --- what was read -------------------------------------------------------------------------------


def test_rows_faults_kinds_and_scripts_are_told(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}]},
        {"messages": []},
        {
            "messages": [
                {"role": "system", "content": "짧게"},
                *({"role": role, "content": "漢字 ab"} for role in ("user", "assistant") * 2),
            ]
        },
    ]
    path = save(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert overview.dataset_lines(data.load(path)) == [
        f"데이터: {path}",
        "형식: messages, 인코딩: utf-8",
        "행: 3행 가운데 1행은 쓸 수 없어서 2행을 읽었습니다.",
        "  2행: `messages`: assistant의 답이 하나도 없습니다",
        "내용: 대화 2개(답이 여럿인 것 1개, 많게는 2번), 지시문이 있는 것 1개",
        "글자: 로마자 38.1%, 한자 38.1%, 한글 23.8%",
    ]


def test_what_repeats_is_told_by_the_rows_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "text\n가\n\n,\n나\n가\n나\n가\n")
    dataset = data.load(path)
    assert dataset.repeats == ((2, 0), (3, 1), (4, 0))
    (line,) = (line for line in overview.dataset_lines(dataset) if "겹치는" in line)
    assert line == "겹치는 것: 3개 (5행 = 1행, 6행 = 4행, 7행 = 1행)"


def test_in_a_folder_a_row_is_told_with_its_file(tmp_path: Path) -> None:
    save(tmp_path / "가.jsonl", '{"text": "하나"}\n{"text": ""}\n{"text": "둘"}\n')
    save(tmp_path / "나.jsonl", '{"text": ""}\n{"text": "셋"}\n{"text": "하나"}\n')
    dataset = data.load(tmp_path)
    places = [dataset.place(at) for at in range(len(dataset.items))]
    assert places == ["가.jsonl 1행", "가.jsonl 3행", "나.jsonl 2행", "나.jsonl 3행"]
    assert "겹치는 것: 1개 (나.jsonl 3행 = 가.jsonl 1행)" in overview.dataset_lines(dataset)


def test_items_that_came_from_no_file_are_counted() -> None:
    assert Dataset((TALK, LONG), "messages").place(1) == "2번째"


def test_the_longest_rows_are_told_by_number_with_their_beginning() -> None:
    items: list[Item] = [Document("짧은 글"), Document("긴\n\n글 " * 30), TALK, LONG]
    told = overview.preview_lines(Dataset(tuple(items), "text", rows=(2, 5, 6, 9)), seen(*items))
    start = told.index("가장 긴 것:")
    assert told[start + 1].startswith("  5행 150자: 긴 글 긴 글")
    assert told[start + 1].endswith("…")
    assert told[start + 2].startswith("  9행")
    assert len(told[start:]) == 4


# --- as the model sees it ------------------------------------------------------------------------


def test_without_a_tokenizer_rows_are_shown_and_counted_in_characters() -> None:
    shown = seen(LONG, Document("글")).rows
    assert shown[0].text == (
        "### 사용자:\n대한민국의 수도는?\n\n### AI:\n[[서울입니다.]]\n\n"
        "### 사용자:\n왜 그런가요?\n\n### AI:\n[[오래전부터 나라의 중심이었습니다.<EOS>]]"
    )
    assert shown[1].text == "[[글<EOS>]]"
    assert shown[0].length == len(LIGHTKOR.render(LONG).text)
    assert seen(LONG).learned == len("서울입니다.오래전부터 나라의 중심이었습니다.")
    assert seen(TALK, learn_all=True).learned == len(LIGHTKOR.render(TALK).text)


def test_a_format_that_ends_its_answers_itself_is_not_given_another_end() -> None:
    (row,) = seen(TALK, form=prompts.get("chatml", Settings())).rows
    assert row.text.endswith("[[서울입니다.<|im_end|>]]")


def bare(parts: Sequence[Part]) -> str:
    """The words alone: no blanks, and no BOS or EOS however it is written."""
    text = "".join(part.text for part in parts)
    return re.sub(r"\s|<BOS>|<EOS>|</?s>", "", text)


@pytest.mark.parametrize("kind", [tiny.tokenizer, checkpoints.byte_fallback, checkpoints.joining])
@pytest.mark.parametrize("name", [name for name in prompts.names() if name != "template"])
def test_tokens_show_the_same_as_characters_do(kind: Any, name: str, tmp_path: Path) -> None:
    kind(tmp_path)
    tokens = Vocabulary(pretrained.load_tokenizer(tmp_path))
    form = prompts.get(name, Settings())
    items: list[Item] = [TALK, Document("서울에 비가 온다.")]
    exact = preview.by_tokens(items, Encoder(tokens, form), rows=9)
    guessed = preview.by_characters(items, form, rows=9)
    for row, guess in zip(exact.rows, guessed.rows, strict=True):
        assert bare(row.parts) == bare(guess.parts)
        assert [bare([p]) for p in row.parts if p.learned] == [
            bare([p]) for p in guess.parts if p.learned
        ]
        writes_bos = tokens.adds_bos or (name == "llama2" and row.item == 0)
        assert row.text.count("<BOS>") == row.text.startswith("<BOS>") == writes_bos
        assert row.text.count("<EOS>") == row.text.endswith("<EOS>]]") == 1
    assert exact.kept == guessed.kept == 2


def test_dropped_rows_are_told_by_the_rows_of_the_file(tmp_path: Path) -> None:
    checkpoints.joining(tmp_path)
    tokens = Vocabulary(pretrained.load_tokenizer(tmp_path))
    items = (TALK, LONG, Conversation.ask("질문").add("assistant", "</s>"))
    found = preview.by_tokens(items, Encoder(tokens, LIGHTKOR, length=60), rows=3)
    told = overview.preview_lines(Dataset(items, "messages", rows=(1, 3, 7)), found)
    length = dict(found.lengths)[1]
    assert length > 60
    assert "1개는 너무 길어서 뺐습니다." in told
    assert f"  3행: 너무 길어서 뺐습니다 ({length}토큰)" in told
    assert "  7행: 배울 답이 없어서 뺐습니다" in told
    assert [row.item for row in found.rows] == [0]


def test_a_document_in_windows_has_one_length(tmp_path: Path) -> None:
    checkpoints.byte_fallback(tmp_path)
    tokens = Vocabulary(pretrained.load_tokenizer(tmp_path))
    document = Document("서울은 대한민국의 수도이다. " * 20)
    whole, parted = (
        preview.by_tokens([document], Encoder(tokens, LIGHTKOR, length=length), rows=99)
        for length in (0, 30)
    )
    assert parted.lengths == whole.lengths
    assert len(whole.rows) == 1 < len(parted.rows)


def test_long_texts_lose_their_middle_and_what_a_terminal_would_obey() -> None:
    (row,) = seen(Document("\x1b[2J처음" + "가" * 5000 + "끝\x07\n\t.")).rows
    assert row.text.startswith("[[\\x1b[2J처음")
    assert row.text.endswith("끝\\x07\n\t.<EOS>]]")
    assert "자 줄임)" in row.text
    assert len(row.text) < 2100


def test_where_nothing_can_be_learned_the_reason_is_told() -> None:
    with pytest.raises(DataBroken, match="배울 것이 있는 행이 하나도 없습니다"):
        seen(Conversation.ask("질문").add("assistant", "</s>"))


def test_the_same_is_there_for_programs() -> None:
    dataset = Dataset((TALK, LONG, TALK), "messages")
    told = overview.as_json(dataset, seen(*dataset.items))
    assert json.loads(json.dumps(told)) == told
    assert told["repeats"] == [{"item": 2, "same_as": 0}]
    assert told["rows"][0]["parts"][1] == {"text": "서울입니다.<EOS>", "learned": True}
    assert told["fingerprint"] == dataset.fingerprint
