"""`lightkorllm data`: any file is shown as a model will see it, on any console."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import checkpoints
import tiny
from lightkorllm import cli, pretrained
from lightkorllm.vocabulary import Vocabulary

Console = pytest.CaptureFixture[str]

ROWS = [
    {"instruction": "똠방각하가 뭐야?", "input": "", "output": "장난스러운 말입니다."},
    {"instruction": "띄어쓰기를 고쳐 줘.", "input": "나는학교에간다", "output": "나는 학교에 간다"},
    {"instruction": "null은?", "input": "", "output": "비었다는 뜻입니다."},
]


def table(delimiter: str = ",") -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
TALKS = {
    "messages": [
        {"role": "user", "content": "안녕?"},
        {"role": "assistant", "content": "반가워요."},
    ],
    "conversations": [
        {"from": "human", "value": "안녕?"},
        {"from": "gpt", "value": "반가워요."},
    ],
}


def save(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def told(console: Console, *argv: str | Path) -> str:
    """What the command writes when it ends well."""
    assert cli.main(["data", *map(str, argv)]) == 0
    return console.readouterr().out


def shown(console: Console, *argv: str | Path) -> Any:
    """The same for programs."""
    return json.loads(told(console, *argv, "--json"))


def texts(found: Any) -> list[str]:
    return ["".join(part["text"] for part in row["parts"]) for row in found["rows"]]


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.case("K15")
def test_every_encoding_that_excel_saves_in_shows_the_same_rows(
    tmp_path: Path, capsys: Console
) -> None:
    files = {
        "utf-8": save(tmp_path / "utf8.csv", table()),
        "utf-8-sig": save(tmp_path / "mark.csv", table(), "utf-8-sig"),
        "cp949": save(tmp_path / "cp949.csv", table(), "cp949"),
        "utf-16": save(tmp_path / "유니코드 텍스트.txt.csv", table("\t"), "utf-16"),
    }
    found = {name: shown(capsys, file) for name, file in files.items()}
    assert {name: each["encoding"] for name, each in found.items()} == {n: n for n in files}
    assert len({each["fingerprint"] for each in found.values()}) == 1
    assert len({str(each["rows"]) for each in found.values()}) == 1
    assert "똠방각하" in texts(found["cp949"])[0]


@pytest.mark.case("K18")
@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl"])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, capsys: Console, name: str) -> None:
    text = {"a.csv": table(), "a.json": json.dumps(ROWS), "a.jsonl": LINES}[name]
    path = save(tmp_path / name, text)
    plain = shown(capsys, path)
    path.write_bytes(codecs.BOM_UTF8 + text.encode())
    marked = shown(capsys, path)
    assert (plain.pop("encoding"), marked.pop("encoding")) == ("utf-8", "utf-8-sig")
    assert marked == plain


@pytest.mark.case("F13")
def test_an_array_lines_and_one_object_are_told_apart_by_what_they_hold(
    tmp_path: Path, capsys: Console
) -> None:
    files = [
        save(tmp_path / "배열.jsonl", json.dumps(ROWS)),
        save(tmp_path / "줄.json", LINES),
        save(tmp_path / "객체.json", json.dumps({"data": ROWS})),
    ]
    assert len({shown(capsys, file)["fingerprint"] for file in files}) == 1
    save(files[1], LINES + '{"instruction": ')
    assert cli.main(["data", str(files[1])]) == 2
    assert "4번째 줄" in capsys.readouterr().err


@pytest.mark.case("F15")
def test_blank_cells_are_blank_and_never_words(tmp_path: Path, capsys: Console) -> None:
    lines = told(capsys, save(tmp_path / "a.csv", table()))
    assert not re.search(r"nan|None", lines)
    assert lines.count("null") == 1


@pytest.mark.case("F19")
@pytest.mark.parametrize("container", ["json", "jsonl", "csv"])
@pytest.mark.parametrize("column", TALKS)
def test_chat_rows_are_known_by_their_keys(
    tmp_path: Path, capsys: Console, column: str, container: str
) -> None:
    row = {column: TALKS[column]}
    if container == "csv":
        cell = json.dumps(TALKS[column], ensure_ascii=False).replace('"', '""')
        text = f'{column}\n"{cell}"\n'
    else:
        text = json.dumps([row] if container == "json" else row, ensure_ascii=False)
    found = shown(capsys, save(tmp_path / f"a.{container}", text))
    assert found["format"] == {"messages": "messages", "conversations": "sharegpt"}[column]
    assert texts(found) == ["### 사용자:\n안녕?\n\n### AI:\n반가워요.<EOS>"]


@pytest.mark.case("F19")
def test_a_wrong_role_is_told_by_its_row_and_the_rest_is_shown(
    tmp_path: Path, capsys: Console
) -> None:
    wrong = [{"role": "심판", "content": "안녕?"}]
    rows = [{"messages": TALKS["messages"]}, {"messages": wrong}]
    path = save(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    lines = told(capsys, path)
    assert "2행: `messages[0].role`: user, assistant, system 중 하나여야 합니다" in lines
    assert "[[반가워요.<EOS>]]" in lines


def test_columns_are_renamed(tmp_path: Path, capsys: Console) -> None:
    path = save(tmp_path / "a.csv", "문의,답장,비고\n환불되나요?,네.,-\n")
    assert cli.main(["data", str(path)]) == 2
    capsys.readouterr()
    for argv in (["문의=question,답장=answer"], ["문의=question", "--columns", "답장=answer"]):
        assert "[[네.<EOS>]]" in told(capsys, path, "--columns", *argv)
    assert cli.main(["data", str(path), "--columns", "문의"]) == 2
    assert "문의=question 꼴" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["없는.csv"], ["builtin:없음"]])
def test_without_data_it_says_what_to_do(capsys: Console, argv: list[str]) -> None:
    assert cli.main(["data", *argv]) == 2
    assert capsys.readouterr().err.startswith("오류: ")


def test_nothing_usable_is_an_error_with_the_reason(tmp_path: Path, capsys: Console) -> None:
    assert cli.main(["data", str(save(tmp_path / "a.csv", "질문,답변\n안녕?,\n"))]) == 2
    assert "1행: `답변`: 비어 있습니다" in capsys.readouterr().err


def test_the_pairs_that_ship_are_shown(capsys: Console) -> None:
    found = shown(capsys, "builtin:held_out", "--rows", "0")
    assert found["items"] == found["kept"] >= 100
    assert (found["faults"], found["dropped"], found["rows"]) == ([], [], [])


# --- with a model --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["byte-level", "byte-fallback", "joining"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as far as its tokenizer goes, whose padding is its end."""
    folder = tmp_path_factory.mktemp("모델")
    makes = {
        "byte-level": tiny.tokenizer,
        "byte-fallback": checkpoints.byte_fallback,
        "joining": checkpoints.joining,
    }
    makes[request.param](folder)
    checkpoints.edit(folder / "tokenizer_config.json", pad_token="</s>")
    return folder


def with_model(console: Console, tmp_path: Path, model: Path, answer: str, *argv: str) -> Any:
    row = {"instruction": "대한민국의 수도는?", "output": answer}
    path = save(tmp_path / "a.json", json.dumps([row, *ROWS]))
    return shown(console, path, "--model", model, *argv)


@pytest.mark.case("F01", "F02")
@pytest.mark.parametrize("end", ["", "</s>", "<|endoftext|>"])
def test_every_row_ends_with_one_end_that_is_learned(
    model: Path, tmp_path: Path, capsys: Console, end: str
) -> None:
    found = with_model(capsys, tmp_path, model, f"서울입니다.{end}", "--rows", "9")
    assert found["unit"] == "token"
    assert len(found["rows"]) == found["kept"] == 4
    for row, text in zip(found["rows"], texts(found), strict=True):
        assert row["parts"][-1]["learned"]
        assert text.endswith("<EOS>")
        assert text.count("<EOS>") == 1
        assert "</s>" not in text
    assert found["literal_ends"] == bool(end)


@pytest.mark.case("F04")
@pytest.mark.parametrize("name", ["lightkor", "koalpaca", "kullm_ko", "eeve", "vicuna"])
def test_no_row_is_without_something_to_learn(
    model: Path, tmp_path: Path, capsys: Console, name: str
) -> None:
    found = with_model(capsys, tmp_path, model, "\n- 서울.", "--rows", "9", "--prompt_format", name)
    learned = [[part["learned"] for part in row["parts"]] for row in found["rows"]]
    assert learned == [[False, True]] * 4
    assert found["learned"] > 0


@pytest.mark.case("F06")
def test_what_is_too_long_is_dropped_and_told_by_its_row(
    model: Path, tmp_path: Path, capsys: Console
) -> None:
    found = with_model(capsys, tmp_path, model, "서울입니다. " * 90, "--rows", "9")
    long = found["lengths"]["maximum"]
    assert found["kept"] == 4
    found = with_model(capsys, tmp_path, model, "서울입니다. " * 90, "--max_length", str(long - 1))
    assert found["dropped"] == [{"item": 0, "reason": "long", "tokens": long, "detail": ""}]
    assert not any("서울" in text for text in texts(found))
    lines = told(capsys, tmp_path / "a.json", "--model", model, "--max_length", str(long - 1))
    assert f"1행: 너무 길어서 뺐습니다 ({long:,}토큰)" in lines


@pytest.mark.case("F07")
@pytest.mark.parametrize("name", ["lightkor", "template"])
def test_a_template_and_a_tokenizer_that_both_write_bos_give_one(
    model: Path, tmp_path: Path, capsys: Console, name: str
) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    checkpoints.edit(model / "tokenizer_config.json", chat_template=template)
    found = with_model(capsys, tmp_path, model, "서울입니다.", "--prompt_format", name)
    checkpoints.edit(model / "tokenizer_config.json", chat_template=None)
    adds_bos = Vocabulary(pretrained.load_tokenizer(model)).adds_bos
    assert {text.count("<BOS>") for text in texts(found)} == {adds_bos or name == "template"}


def test_the_models_own_format_is_taken(model: Path, tmp_path: Path, capsys: Console) -> None:
    record = model / "lightkorllm.json"
    record.write_text('{"prompt_format": "koalpaca"}', encoding="utf-8")
    found = with_model(capsys, tmp_path, model, "서울입니다.")
    record.unlink()
    assert found["prompt_format"] == "koalpaca"


def test_questions_are_learned_where_they_are_meant_to_be(
    model: Path, tmp_path: Path, capsys: Console
) -> None:
    answers = with_model(capsys, tmp_path, model, "서울입니다.")["learned"]
    assert (
        with_model(capsys, tmp_path, model, "서울입니다.", "--train_on_prompt")["learned"] > answers
    )


def test_a_model_that_is_not_there_is_told(tmp_path: Path, capsys: Console) -> None:
    path = save(tmp_path / "a.csv", table())
    assert cli.main(["data", str(path), "--model", str(tmp_path / "없음")]) == 2
    assert "오류:" in capsys.readouterr().err


# --- consoles ------------------------------------------------------------------------------------


CONSOLES: dict[str, tuple[list[str], dict[str, str]]] = {
    "korean windows": ([], {"PYTHONIOENCODING": "cp949"}),
    "no locale": (["-X", "utf8=0"], {"LC_ALL": "C"}),
    "utf-8": ([], {"PYTHONIOENCODING": "utf-8"}),
}


@pytest.mark.case("K14", "K16")
@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("extra", [[], ["--json"], ["--help"]])
def test_every_console_is_spoken_to_and_every_file_is_opened_as_what_it_is(
    tmp_path: Path, console: str, extra: list[str]
) -> None:
    flags, environ = CONSOLES[console]
    text = LINES + '{"instruction": "그림 글자는? — 👋", "output": "👋🏽 √ 뷁"}\n'
    path = save(tmp_path / "한글 이름.jsonl", text)
    command = [sys.executable, "-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run(
        [*command, *flags, "-m", "lightkorllm", "data", str(path), "--rows", "9", *extra],
        capture_output=True,
        env={"PATH": "", "HOME": str(tmp_path), **environ},
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0
    output = done.stdout.decode(environ.get("PYTHONIOENCODING", "ascii"))
    if extra == ["--json"]:
        assert "뷁" in "".join(texts(json.loads(output)))
        assert "👋🏽" in "".join(texts(json.loads(output)))
