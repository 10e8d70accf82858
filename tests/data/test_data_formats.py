"""Row shapes: which format reads a row, what it makes of it, and why it refuses one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lightkorllm import data
from lightkorllm.conversation import Conversation, Role, Turn
from lightkorllm.data import Document, formats
from lightkorllm.data.formats.base import RowFormat
from lightkorllm.errors import BadRequest, DataBroken, OptionError

USER: Role = "user"
AI: Role = "assistant"


def format_of(*rows: Mapping[str, Any]) -> str:
    found = formats.find(rows)
    return found.name if found else ""


def read(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The turns that the row's own format reads."""
    found = formats.find([row])
    assert found
    item = found.read(row)
    assert isinstance(item, Conversation)
    return [(turn.role, turn.text) for turn in item.turns]


def problem(row: Mapping[str, Any], name: str) -> str:
    with pytest.raises(BadRequest) as caught:
        formats.get(name).read(row)
    return caught.value.message


# --- which format reads a row --------------------------------------------------------------------


def test_every_file_in_the_folder_is_a_format_under_its_own_name_and_rank() -> None:
    forms: list[RowFormat] = [formats.get(name) for name in formats.names()]
    assert formats.names() == ("alpaca", "messages", "prompt_completion", "sharegpt", "text")
    assert [form.name for form in forms] == list(formats.names())
    assert len({form.rank for form in forms}) == len(forms)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ("instruction output", "alpaca"),  # KoAlpaca v1.1a
        ("id instruction input output", "alpaca"),  # KULLM v2
        ("instruction context response category", "alpaca"),  # Dolly
        ("지시 입력 출력", "alpaca"),
        ("prompt completion", "prompt_completion"),
        ("question answer", "prompt_completion"),
        ("질문 답변", "prompt_completion"),
        ("q a label", "prompt_completion"),  # songys/Chatbot_data
        ("system_prompt question response", "prompt_completion"),  # OpenOrca
        ("input output", "prompt_completion"),
        ("text", "text"),
    ],
)
def test_a_format_is_known_by_its_columns(columns: str, name: str) -> None:
    assert format_of(dict.fromkeys(columns.split(), "글")) == name


@pytest.mark.case("F19")
def test_the_lists_of_chat_rows_are_known_by_their_column_not_by_their_keys() -> None:
    openai = [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}]
    share = [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "네"}]
    assert format_of({"messages": openai}) == format_of({"messages": share}) == "messages"
    assert format_of({"conversations": share}) == format_of({"conversations": openai}) == "sharegpt"
    assert (
        read({"conversations": openai})
        == read({"messages": share})
        == [
            (USER, "안녕"),
            (AI, "네"),
        ]
    )


def test_what_was_said_in_turns_comes_before_pairs_and_pairs_before_plain_text() -> None:
    talk = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]
    pair = {"prompt": "질문", "completion": "답"}
    alpaca = {"instruction": "질문", "input": "", "output": "답"}
    text = {"text": "Below is an instruction …"}
    assert format_of({**alpaca, **text}) == "alpaca"  # tatsu-lab/alpaca has both
    assert format_of({**pair, **text}) == "prompt_completion"
    assert format_of({**pair, **alpaca}) == "alpaca"
    assert format_of({**pair, **alpaca, **text, "conversations": talk}) == "sharegpt"
    assert format_of({**pair, "conversations": talk, "messages": talk}) == "messages"


def test_a_column_of_nulls_does_not_count() -> None:
    row = {"messages": None, "conversations": None, "instruction": "질문", "output": "답"}
    assert format_of(row) == "alpaca"


def test_broken_rows_do_not_hand_the_file_to_a_lesser_format() -> None:
    good = {"instruction": "질문", "output": "답", "text": "질문 답"}
    assert format_of(*[good] * 9, {**good, "output": None}, {"text": "글"}) == "alpaca"


def test_a_message_alone_is_not_taken_for_plain_text() -> None:
    assert format_of({"role": "user", "content": "안녕"}) == ""


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"'알파카'.*auto, alpaca, messages"):
        formats.get("알파카")


# --- pairs ---------------------------------------------------------------------------------------


def test_the_input_follows_the_instruction_in_the_same_turn() -> None:
    row = {"instruction": "요약해 줘.", "input": "긴 글", "output": "짧은 글"}
    assert read(row) == [(USER, "요약해 줘.\n\n긴 글"), (AI, "짧은 글")]


@pytest.mark.parametrize("blank", ["", "  \n", None])
def test_a_blank_input_leaves_no_trace(blank: str | None) -> None:
    row = {"instruction": "인사해 줘.", "input": blank, "output": "안녕하세요"}
    assert read(row) == [(USER, "인사해 줘."), (AI, "안녕하세요")]


@pytest.mark.parametrize("blank", ["", None])
def test_a_blank_instruction_leaves_the_input_to_ask(blank: str | None) -> None:
    row = {"instruction": blank, "input": "오늘 며칠이야?", "output": "모릅니다"}
    assert read(row) == [(USER, "오늘 며칠이야?"), (AI, "모릅니다")]


def test_no_context_is_dropped_silently() -> None:
    row = {
        "instruction": "답하라.",
        "question": "누가?",
        "context": "세종이 만들었다.",
        "answer": "세종",
    }
    assert read(row)[0] == (USER, "답하라.\n\n누가?\n\n세종이 만들었다.")


def test_a_system_column_and_earlier_exchanges_are_read() -> None:
    row = {
        "system": "친절하게",
        "instruction": "그럼 내일은?",
        "output": "비",
        "history": [["오늘 날씨?", "맑음"]],
    }
    item = formats.get("alpaca").read(row)
    assert item == Conversation(
        "친절하게",
        (
            Turn(USER, "오늘 날씨?"),
            Turn(AI, "맑음"),
            Turn(USER, "그럼 내일은?"),
            Turn(AI, "비"),
        ),
    )
    assert formats.get("alpaca").read({**row, "history": json.dumps(row["history"])}) == item
    assert "history[0]" in problem({**row, "history": ["오늘"]}, "alpaca")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"instruction": "질문"}, "`output`: 없습니다"),
        ({"instruction": "질문", "output": ""}, "`output`: 비어 있습니다"),
        ({"instruction": "질문", "response": " \n"}, "`response`: 비어 있습니다"),
        ({"instruction": "질문", "output": None}, "`output`: 비어 있습니다"),
        ({"output": "답"}, "`instruction`: 없습니다"),
        ({"instruction": " ", "input": "", "output": "답"}, "`instruction`: 비어 있습니다"),
        ({"instruction": "질문", "output": 3}, "`output`: 글이어야 합니다 (받은 것: 숫자)"),
        (
            {"instruction": ["질문"], "output": "답"},
            "`instruction`: 글이어야 합니다 (받은 것: 목록)",
        ),
        ({"instruction": "질문", "output": True}, "`output`: 글이어야 합니다 (받은 것: 참/거짓)"),
        ({"instruction": "질문", "output": "\ud83d"}, "`output`: 깨진 글자"),
        ({"instruction": "질문", "output": "답\0"}, "`output`: 깨진 글자"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_by_column(row: dict[str, Any], told: str) -> None:
    assert told in problem(row, "alpaca")


# --- talks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("human", "gpt"),
        ("user", "assistant"),
        ("User", "ASSISTANT"),
        ("### 사용자:", "### AI:"),
        ("사용자", "챗봇"),
        ("사람", "어시스턴트"),
    ],
)
def test_roles_are_read_by_any_name_in_use(user: str, assistant: str) -> None:
    row = {"conversations": [{"from": user, "value": "안녕"}, {"from": assistant, "value": "네"}]}
    assert read(row) == [(USER, "안녕"), (AI, "네")]


def test_system_texts_are_joined_in_front_as_the_server_does() -> None:
    row = {
        "system": "하나",
        "messages": [
            {"role": "system", "content": "둘"},
            {"role": "user", "content": "안녕"},
            {"role": "developer", "content": "셋"},
            {"role": "assistant", "content": "네"},
            {"role": "system", "content": " "},
        ],
    }
    item = formats.get("messages").read(row)
    assert item == Conversation("하나\n\n둘\n\n셋", (Turn(USER, "안녕"), Turn(AI, "네")))


def test_a_question_without_an_answer_at_the_end_is_left_out() -> None:
    row = {
        "messages": [
            {"role": "assistant", "content": "어서 오세요"},
            {"role": "user", "content": "안녕"},
            {"role": "assistant", "content": "네"},
            {"role": "user", "content": "그럼"},
            {"role": "user", "content": "안녕히"},
        ]
    }
    assert read(row) == [(AI, "어서 오세요"), (USER, "안녕"), (AI, "네")]


def test_content_may_be_a_list_of_texts() -> None:
    parts = [{"type": "text", "text": "안"}, {"type": "text", "text": "녕"}]
    talk = [{"role": "user", "content": parts}, {"role": "assistant", "content": "네"}]
    assert read({"messages": talk})[0] == (USER, "안녕")


def test_keys_that_another_row_of_a_parquet_file_brought_in_are_nothing() -> None:
    talk = [
        {"from": "human", "value": "안녕", "role": None, "content": None},
        {"from": None, "value": None, "role": "assistant", "content": "네", "tool_calls": None},
    ]
    assert read({"conversations": talk}) == [(USER, "안녕"), (AI, "네")]


def test_a_table_holds_the_list_as_json() -> None:
    talk = [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}]
    assert read({"messages": json.dumps(talk, ensure_ascii=False)}) == [(USER, "안녕"), (AI, "네")]
    assert "JSON 목록" in problem({"messages": str(talk)}, "messages")


@pytest.mark.case("F19")
@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "`messages`: assistant의 답이 하나도 없습니다"),
        ([{"role": "user", "content": "안녕"}], "assistant의 답이 하나도 없습니다"),
        ([{"role": "심판", "content": "안녕"}], "`messages[0].role`: user, assistant, system 중"),
        ([{"role": "tool", "content": "{}"}], "받은 값: 'tool'"),
        ([{"content": "안녕"}], "`messages[0]`: 누가 한 말인지(role 또는 from)가 없습니다"),
        ([{"role": 1, "content": "안녕"}], "`messages[0].role`: 글이어야 합니다"),
        ([{"role": "assistant"}], "`messages[0]`: 말(content 또는 value)이 없습니다"),
        ([{"role": "assistant", "content": " "}], "`messages[0].content`: 비어 있습니다"),
        ([{"role": "assistant", "content": 7}], "`messages[0].content`: 글이어야 합니다"),
        ([{"role": "assistant", "content": [{"type": "image_url"}]}], "글(text)만"),
        ([{"role": "assistant", "content": "", "tool_calls": [{}]}], "도구 호출"),
        (["안녕"], "`messages[0]`: 객체여야 합니다 (받은 것: 글)"),
        ({"role": "user"}, "`messages`: 목록이어야 합니다 (받은 것: 객체)"),
    ],
)
def test_a_talk_that_cannot_be_used_is_refused_by_its_place(messages: Any, told: str) -> None:
    assert told in problem({"messages": messages}, "messages")


# --- text ----------------------------------------------------------------------------------------


def test_plain_text_is_composed_and_its_line_breaks_are_plain() -> None:
    item = formats.get("text").read({"text": unicodedata.normalize("NFD", "한글") + "\r\n끝\r"})
    assert item == Document("한글\n끝\n")
    assert Document(unicodedata.normalize("NFD", "한글")).text == "한글"


def test_blank_text_is_refused() -> None:
    assert problem({"text": "\u3000"}, "text") == "`text`: 비어 있습니다"
    assert problem({"글자": "가"}, "text") == "`text`: 없습니다"


# --- from outside --------------------------------------------------------------------------------


def test_a_format_can_be_forced_and_columns_renamed(tmp_path: Path) -> None:
    file = tmp_path / "상담.csv"
    file.write_text("문의 내용,text,답장\n환불되나요?,메모,네\n", encoding="utf-8")
    assert data.load(file).format == "text"
    assert data.load(file, format="text").items == (Document("메모"),)
    renamed = data.load(file, columns={"문의 내용": "question", "답장": "answer"})
    assert renamed.format == "prompt_completion"
    assert renamed.items == (Conversation.ask("환불되나요?").add(AI, "네"),)


def test_two_columns_can_change_places(tmp_path: Path) -> None:
    file = tmp_path / "거꾸로.csv"
    file.write_text("question,answer\n답,질문\n", encoding="utf-8")
    swapped = data.load(file, columns={"question": "answer", "answer": "question"})
    assert swapped.items == (Conversation.ask("질문").add(AI, "답"),)


def test_a_column_to_rename_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("question,answer\n질문,답\n", encoding="utf-8")
    with pytest.raises(DataBroken, match=r"물음.*있는 열: answer, question"):
        data.load(file, columns={"물음": "question"})


def test_column_names_are_read_without_case_spaces_and_decomposition(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    heading = unicodedata.normalize("NFD", " 질문 ") + ",답변,System Prompt"
    file.write_text(f"{heading}\n안녕?,네,짧게\n", encoding="utf-8")
    assert data.load(file).items == (Conversation.ask("안녕?", system="짧게").add(AI, "네"),)
