"""Files: whatever container and encoding rows come in, the same rows come out."""

from __future__ import annotations

import codecs
import csv
import io
import json
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lightkorllm import data
from lightkorllm.conversation import Conversation
from lightkorllm.data import Dataset, Document
from lightkorllm.data.rows import json_values
from lightkorllm.errors import DataBroken, MissingPackage

Rows = Sequence[dict[str, str]]

ROWS: Rows = [
    {"instruction": "대한민국의 수도는?", "input": "", "output": "서울입니다.\n한강이 흐릅니다."},
    {"instruction": '"뭐"를 번역해, 줘', "input": "a;b|c\td", "output": "null"},
    {"instruction": "똠방각하가 뭐야?", "input": "NA", "output": "나\r\n다"},
]


def alpaca(rows: Rows) -> tuple[Conversation, ...]:
    """What these rows mean, without the code under test."""
    plain = [{key: text.replace("\r\n", "\n") for key, text in row.items()} for row in rows]
    return tuple(
        Conversation.ask("\n\n".join(filter(None, (row["instruction"], row["input"])))).add(
            "assistant", row["output"]
        )
        for row in plain
    )


def lines(rows: Rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(rows: Rows, delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


CONTAINERS: dict[str, Callable[[Rows], str]] = {
    "array.json": lambda rows: json.dumps(rows, ensure_ascii=False),
    "pretty.json": lambda rows: json.dumps(rows, ensure_ascii=False, indent=2),
    "escaped.json": json.dumps,
    "object.json": lambda rows: json.dumps({"version": 1, "data": rows}, ensure_ascii=False),
    "lines.jsonl": lines,
    "windows.jsonl": lambda rows: lines(rows).replace("\n", "\r\n") + "\r\n",
    "tall.jsonl": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
    "table.csv": table,
    "semicolons.csv": lambda rows: table(rows, ";"),
    "pipes.csv": lambda rows: table(rows, "|"),
    "tabs.csv": lambda rows: table(rows, "\t"),
    "table.tsv": lambda rows: table(rows, "\t"),
}
ENCODINGS: dict[str, tuple[bytes, str, str]] = {  # mark, codec, what we call it
    "utf-8": (b"", "utf-8", "utf-8"),
    "utf-8 with a mark": (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    "utf-16 le": (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
    "utf-16 be": (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
    "cp949": (b"", "cp949", "cp949"),
}


def save(path: Path, text: str, encoding: str = "utf-8") -> Path:
    mark, codec, _ = ENCODINGS[encoding]
    path.write_bytes(mark + text.encode(codec))
    return path


def load_text(folder: Path, name: str, text: str) -> Dataset:
    return data.load(save(folder / name, text))


def refusal(path: Path) -> str:
    with pytest.raises(DataBroken) as caught:
        data.load(path)
    assert str(path) in caught.value.message
    return caught.value.message


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.case("K15", "K18", "F13", "F19")
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_rows_come_out_of_every_container_and_encoding(
    tmp_path: Path, name: str, encoding: str
) -> None:
    dataset = data.load(save(tmp_path / name, CONTAINERS[name](ROWS), encoding))
    assert dataset.items == alpaca(ROWS)
    assert (dataset.format, dataset.faults) == ("alpaca", ())
    if name not in ("escaped.json", "tall.jsonl"):  # these are ASCII
        assert dataset.encoding == ENCODINGS[encoding][2]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
HANGUL = st.text(st.sampled_from('가힣똠방각하 ,;|\t\n\r":{}[]null'), max_size=20)
SPOKEN = st.one_of(TEXT, HANGUL).filter(str.strip)
WRITTEN = st.fixed_dictionaries(
    {"instruction": SPOKEN, "input": st.one_of(TEXT, HANGUL), "output": SPOKEN}
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(WRITTEN, min_size=1, max_size=4))
@example([{"instruction": "\ufeff가", "input": "\r", "output": "\u2028\x85\x1c끝"}])
def test_a_fingerprint_does_not_depend_on_container_or_encoding(
    tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    rows = [{"instruction": "먼저 한국어로", "input": "", "output": "답합니다"}, *rows]
    prints = set()
    for name, write in CONTAINERS.items():
        for encoding, (_, codec, _) in ENCODINGS.items():
            try:
                write(rows).encode(codec)
            except UnicodeEncodeError:  # CP949 does not have every character
                continue
            prints.add(data.load(save(tmp_path / name, write(rows), encoding)).fingerprint)
    assert len(prints) == 1


def test_a_fingerprint_is_of_what_is_said_who_says_it_and_in_which_order() -> None:
    talk = Conversation.ask("질문").add("assistant", "답")
    same = Dataset((talk, Document("글")), "messages", source="a", encoding="cp949")
    assert same.fingerprint == Dataset((talk, Document("글")), "alpaca").fingerprint
    assert same.fingerprint == "49f139885f808446b7b11d1b27ef9be0730690c2456bbb35174869ecbd56df81"
    others = [
        Dataset((Document("글"), talk), "x"),
        Dataset((talk,), "x"),
        Dataset((talk, Conversation("글")), "x"),
        Dataset((Conversation.ask("질문", system="답"), Document("글")), "x"),
    ]
    assert len({same.fingerprint, *(other.fingerprint for other in others)}) == 5


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.case("K15")
def test_the_syllables_that_euc_kr_lacks_are_read(tmp_path: Path) -> None:
    with pytest.raises(UnicodeDecodeError):
        "똠방각하".encode("cp949").decode("euc-kr")
    text = "질문,답변\n똠방각하?,펲시콜라\n"
    dataset = data.load(save(tmp_path / "옛날.csv", text, "cp949"))
    assert dataset.items == (Conversation.ask("똠방각하?").add("assistant", "펲시콜라"),)
    (tmp_path / "euckr.csv").write_bytes("질문,답변\n안녕?,네\n".encode("euc-kr"))
    assert data.load(tmp_path / "euckr.csv").encoding == "cp949"


@pytest.mark.case("K18")
def test_marks_left_where_files_were_joined_are_passed_over(tmp_path: Path) -> None:
    row = '{"text": "글"}\n'
    assert len(load_text(tmp_path, "a.jsonl", f"\ufeff\ufeff{row}\ufeff{row}").items) == 2
    assert load_text(tmp_path, "a.csv", "\ufeff\ufefftext\n글\n").items == (Document("글"),)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text\n가나다\n라마".encode()[:-1], "3번째 줄을 읽을 수 없습니다: UTF-8 글이 아니거나"),
        ("text\n가나다\n".encode() + "라마".encode("cp949"), "3번째 줄"),
        (b"text\n\xff\xff", "2번째 줄을 읽을 수 없습니다: UTF-8, UTF-16, CP949"),
        ("日本語のテキスト\n".encode("shift-jis") + b"\x80\x80", "CP949"),
        (codecs.BOM_UTF16_LE + "text\n글".encode("utf-16-le")[:-1], "UTF-16"),
        (codecs.BOM_UTF8 + b"text\n\xb0\xa1", "UTF-8 글이 아니거나"),
        ("text\n글".encode("utf-16-le"), "NUL"),
        (codecs.BOM_UTF32_LE + "text".encode("utf-32-le"), "NUL"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "글이 아닙니다"),
    ],
)
def test_a_file_that_is_not_text_in_a_known_encoding_is_refused_whole(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert told in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04....", "CSV UTF-8로 저장"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "CSV UTF-8로 저장"),
        (b"\x1f\x8b\x08\0", "압축을 풀어"),
    ],
)
def test_a_workbook_or_archive_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "자료.csv").write_bytes(content)
    assert told in refusal(tmp_path / "자료.csv")


# --- JSON ----------------------------------------------------------------------------------------


@pytest.mark.case("F13")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a.csv", "a"])
def test_array_lines_and_single_object_are_told_apart_by_content(tmp_path: Path, name: str) -> None:
    row = '{"instruction": "질문", "output": "답"}'
    for text, count in [
        (f"[{row}, {row}]", 2),
        (f"{row}\n{row}\n", 2),
        (f"\n\n{row}\r\n\r\n{row}", 2),
        (row, 1),
        (f'{{"설명": "글", "rows": [{row}, {row}]}}', 2),
    ]:
        assert load_text(tmp_path, name, text).items == alpaca(
            [{"instruction": "질문", "input": "", "output": "답"}] * count
        )


def test_one_conversation_alone_is_a_row_not_a_holder_of_rows(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "안녕"}, {"role": "assistant", "content": "네"}]
    one = load_text(tmp_path, "a.json", json.dumps({"messages": talk}))
    many = load_text(tmp_path, "b.json", json.dumps({"messages": [{"messages": talk}]}))
    assert one.items == many.items == (Conversation.ask("안녕").add("assistant", "네"),)


def test_a_description_beside_the_rows_is_not_taken_for_the_row(tmp_path: Path) -> None:
    held = {"text": "이 데이터셋은 …", "data": [{"instruction": "질문", "output": "답"}]}
    assert load_text(tmp_path, "a.json", json.dumps(held)).format == "alpaca"


def test_a_stray_value_among_held_rows_is_a_fault_of_its_row(tmp_path: Path) -> None:
    dataset = load_text(tmp_path, "a.json", '{"data": ["머리말", {"text": "글"}, null]}')
    assert dataset.items == (Document("글"),)
    assert [fault.row for fault in dataset.faults] == [1, 3]


def test_two_arrays_in_one_object_are_not_chosen_between(tmp_path: Path) -> None:
    rows = [{"text": "글"}]
    path = save(tmp_path / "a.json", json.dumps({"train": rows, "test": rows}))
    assert "train, test" in refusal(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"text": "가"}\n{"text": "나}\n{"text": "다"}\n', "2번째 줄"),
        ('{"text": "가"}\n{"text": "나"\n{"text": "다"}\n', "2번째 줄에서 시작한 값"),
        ('{"text": "가"}\n{"text": "나', "2번째 줄"),
        ('[{"text": "가"},\n{"text": "나"}', "2번째 줄"),
        ('[{"text": "가"},\n\n{"text": "나"},]', "3번째 줄"),
        ('[{"text": "가"}]\n\n[{"text": "나"}]', "3번째 줄: JSON이 깨져 있습니다. 배열이 끝난 뒤"),
        ('[{"text": "가"}\n {"text": "나"}]', "2번째 줄"),
        ('{"text": "가"},\n{"text": "나"}', "1번째 줄"),
        ('[{"text": ' + "[" * 100_000, "너무 깊게"),
        ('{"text": "가",}', "1번째 줄"),
        ('{"text": "가"\n"제목": "나"}', "2번째 줄: JSON이 깨져 있습니다. '}'가 와야 할"),
        ('{"text" "가"}', "':'가 와야 할"),
        ("{3: 4}", "이름이 와야 할"),
        ("안녕하세요", "1번째 줄"),
        ('{"text": ' + "1" * 5000 + "}", "1번째 줄"),
    ],
)
def test_broken_json_is_an_error_that_names_the_line(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(save(tmp_path / "a.json", text))


def test_the_line_of_a_fault_is_right_behind_many_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_values, "_BLOCK", 7)
    text = '{"text": "가나다"}\r\n\n' * 50
    path = save(tmp_path / "a.jsonl", text + '{"text": 깨짐}\n' + text)
    assert "101번째 줄" in refusal(path)
    assert len(load_text(tmp_path, "b.jsonl", text).items) == 50
    assert len(load_text(tmp_path, "c.json", f"[{','.join(text.splitlines()[::2])}]").items) == 50


@pytest.mark.parametrize("block", range(1, 40))
def test_a_value_cut_by_the_window_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(json_values, "_BLOCK", block)
    text = '{"판": -1.5e-3, "수": 1e5, "data": [{"text": "가\\n나"}, {"text": "\\ud55c"}]}'
    dataset = load_text(tmp_path, "a.json", text)
    assert dataset.items == (Document("가\n나"), Document("한"))


def test_nan_from_pandas_is_a_blank_not_a_word(tmp_path: Path) -> None:
    text = '[{"instruction": "질문", "input": NaN, "output": "답"}]'
    assert load_text(tmp_path, "a.json", text).items == alpaca(
        [{"instruction": "질문", "input": "", "output": "답"}]
    )


@pytest.mark.parametrize("name", ["array.json", "object.json", "lines.jsonl", "table.csv"])
def test_a_large_file_is_not_held_several_times(tmp_path: Path, name: str) -> None:
    row = {"instruction": "대한민국의 수도에 대해 설명해 줘. " * 20, "output": "서울입니다. " * 200}
    path = save(tmp_path / name, CONTAINERS[name]([row] * 1500))
    for _ in (0, 1):  # the first time also loads modules
        tracemalloc.start()
        data.load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert path.stat().st_size > 6_000_000
    assert peak < 2 * path.stat().st_size


# --- tables --------------------------------------------------------------------------------------


@pytest.mark.case("F15")
def test_words_that_look_like_nothing_are_words_and_blanks_are_blank(tmp_path: Path) -> None:
    words = "null NA None nan NaN N/A <NA> 1 0.0 True -inf #N/A".split()
    text = "instruction,input,output\n" + "".join(f"{word},,{word}\n" for word in words)
    dataset = load_text(tmp_path, "a.csv", text)
    assert dataset.items == tuple(Conversation.ask(w).add("assistant", w) for w in words)


def test_line_breaks_and_quotes_inside_a_cell_are_kept(tmp_path: Path) -> None:
    text = 'Q,A\r\n"첫 줄\r\n\r\n""둘째"" 줄","가, 나"\r\n'
    assert load_text(tmp_path, "a.csv", text).items == (
        Conversation.ask('첫 줄\n\n"둘째" 줄').add("assistant", "가, 나"),
    )


def test_a_cell_may_be_longer_than_the_csv_module_likes(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    long = "가" * (before + 1)
    assert load_text(tmp_path, "a.csv", f"text\n{long}\n").items == (Document(long),)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('질문,답변\n안녕,네\n"안녕,네\n또,있다\n', "3번째 줄부터: 큰따옴표"),
        ('\n질문,답변\n"안녕"이라고,네\n', "3번째 줄부터: 큰따옴표"),
        ('질문,답변\n"그는 \\"안녕\\" 했다",네\n', "2번째 줄부터: 큰따옴표"),
        ("질문,답변,답변\n안녕,네,예\n", "이름이 같은 열이 둘 이상입니다(답변)"),
        ("안녕하세요,반갑습니다\n잘 가요,또 봐요\n", "찾은 열: 안녕하세요, 반갑습니다"),
    ],
)
def test_a_broken_table_is_refused_whole(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(save(tmp_path / "a.csv", text))


def test_rows_with_a_cell_too_many_are_faults_and_blank_rows_are_passed_over(
    tmp_path: Path,
) -> None:
    text = "질문,답변,\n하나,네,\n,,\n\n둘,네, 그렇죠\n셋,네,,\n넷\n"
    dataset = load_text(tmp_path, "a.csv", text)
    assert [item.turns[0].text for item in dataset.items if isinstance(item, Conversation)] == [
        "하나",
        "둘",
        "셋",
    ]
    assert [(fault.row, fault.reason) for fault in dataset.faults] == [
        (6, "`답변`: 비어 있습니다"),
    ]
    wide = load_text(tmp_path, "b.csv", "질문,답변\n하나,네\n둘,네,그렇죠\n")
    assert [fault.row for fault in wide.faults] == [2]
    assert "2개여야 하는데 3개" in wide.faults[0].reason


# --- text and Parquet ----------------------------------------------------------------------------


def test_the_paragraphs_of_a_text_file_are_documents(tmp_path: Path) -> None:
    text = "\n\n[공지] 첫 문단,\r\n  둘째 줄\r\n \t\r\n\r\n{둘째} 문단\n"
    dataset = load_text(tmp_path, "글.txt", text)
    assert dataset.items == (Document("[공지] 첫 문단,\n  둘째 줄"), Document("{둘째} 문단"))
    assert dataset.format == "text"


def test_a_markdown_file_is_one_document(tmp_path: Path) -> None:
    text = "# 제목\n\n[[연결]]\n\n```\n코드\n```\n"
    assert load_text(tmp_path, "글.md", text).items == (Document(text.rstrip()),)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.json", "a.jsonl", "a.csv", "a"])
@pytest.mark.parametrize("text", ["", " \n\n\t\n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    assert "비어 있습니다" in refusal(save(tmp_path / name, text))


def parquet(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    arrow = pytest.importorskip("pyarrow")
    files = pytest.importorskip("pyarrow.parquet")
    files.write_table(arrow.Table.from_pylist(list(rows)), path)
    return path


def test_parquet_says_the_same_whatever_it_is_called(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.csv"):
        dataset = data.load(parquet(tmp_path / name, ROWS))
        assert dataset.items == alpaca(ROWS)
        assert dataset.encoding == ""


def test_parquet_holds_conversations_and_nulls(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "안녕"}, {"from": "gpt", "value": "네", "weight": 1}]
    rows: list[dict[str, Any]] = [
        {"conversations": talk, "text": None},
        {"conversations": None, "text": "글"},
    ]
    dataset = data.load(parquet(tmp_path / "a.parquet", rows))
    assert dataset.items == (Conversation.ask("안녕").add("assistant", "네"),)
    assert [fault.row for fault in dataset.faults] == [2]


def test_a_cut_parquet_file_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-20])
    assert "손상" in refusal(path)


@pytest.fixture
def without_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_guests")
def test_without_pyarrow_or_datasets_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1....PAR1")
    with pytest.raises(MissingPackage, match=r"lightkorllm\[train\]"):
        data.load(tmp_path / "a.parquet")
    with pytest.raises(MissingPackage, match=r"lightkorllm\[train\]"):
        data.load("beomi/KoAlpaca-v1.1a")
