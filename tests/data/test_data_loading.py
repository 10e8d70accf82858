"""Loading: faults by row, folders, names of the hub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lightkorllm import data
from lightkorllm.conversation import Conversation
from lightkorllm.data import Dataset, Document, Fault
from lightkorllm.errors import DataBroken, OptionError


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source: Path | str) -> str:
    with pytest.raises(DataBroken) as caught:
        data.load(source)
    assert caught.value.code == "data_broken"
    return caught.value.message


# --- faults --------------------------------------------------------------------------------------


def test_rows_that_cannot_be_used_are_told_by_number_and_the_rest_is_used(tmp_path: Path) -> None:
    rows = [
        {"instruction": "하나", "output": "1"},
        {"instruction": "둘", "output": ""},
        "셋",
        {"instruction": "넷"},
        {"instruction": "다섯", "output": 5},
        {"instruction": "여섯", "output": "6"},
    ]
    dataset = data.load(save(tmp_path / "a.json", json.dumps(rows)))
    assert len(dataset.items) == 2
    assert dataset.fault_report == (
        "2행: `output`: 비어 있습니다",
        "3행: 행은 객체여야 합니다 (받은 것: 글)",
        "4행: `output`: 없습니다",
        "5행: `output`: 글이어야 합니다 (받은 것: 숫자)",
    )


def test_the_first_twenty_faults_are_told_and_the_rest_is_counted() -> None:
    faults = [Fault(row, "비어 있습니다" if row % 3 else "없습니다") for row in range(1, 1036)]
    report = Dataset((), "alpaca", tuple(faults)).fault_report
    assert len(report) == 21
    assert report[19] == "20행: 비어 있습니다"
    assert report[20] == "그 밖에 1,015행: 비어 있습니다 (676행), 없습니다 (339행)"
    assert len(Dataset((), "alpaca", tuple(faults[:20])).fault_report) == 20


def test_a_file_without_one_usable_row_is_refused_with_the_reasons(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "질문,답변\n안녕,\n반가워,\n")
    message = refusal(path)
    assert "쓸 수 있는 행이 하나도 없습니다(prompt_completion 형식, 2행)" in message
    assert "1행: `답변`: 비어 있습니다" in message


def test_duplicates_are_counted_and_stay(tmp_path: Path) -> None:
    dataset = data.load(save(tmp_path / "a.csv", "text\n가\n나\n가\n가\n"))
    assert (len(dataset.items), dataset.duplicates) == (4, 2)


def test_unknown_columns_are_told_shortly(tmp_path: Path) -> None:
    heading = ",".join([*(f"열{n}" for n in range(12)), "가" * 500])
    message = refusal(save(tmp_path / "a.csv", f"{heading}\n1\n"))
    assert "찾은 열: 열0, 열1" in message
    assert len(message) < 400


def test_a_forced_format_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "text\n글\n")
    with pytest.raises(DataBroken, match="`messages`: 없습니다"):
        data.load(path, format="messages")
    with pytest.raises(OptionError, match="sharegpt"):
        data.load(path, format="없는 형식")


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_names_whatever_its_files_are(tmp_path: Path) -> None:
    save(tmp_path / "b" / "둘.jsonl", '{"text": "둘"}\n{"text": ""}\n')
    (tmp_path / "a.csv").write_bytes("질문,답변\n하나?,네\n".encode("cp949"))
    save(tmp_path / "README.md", "# 읽어 보세요")
    save(tmp_path / ".숨김" / "c.json", "[깨짐")
    save(tmp_path / "b" / ".DS_Store.json", "[깨짐")
    dataset = data.load(tmp_path)
    assert dataset.items == (Conversation.ask("하나?").add("assistant", "네"), Document("둘"))
    assert dataset.fault_report == ("b/둘.jsonl 2행: `text`: 비어 있습니다",)
    assert dataset.format == "prompt_completion, text"
    assert dataset.encoding == "cp949, utf-8"
    assert dataset.source == str(tmp_path)


def test_a_folder_of_texts_alone_is_texts(tmp_path: Path) -> None:
    save(tmp_path / "1장.txt", "첫 문단\n\n둘째 문단")
    save(tmp_path / "2장.md", "# 제목\n\n글")
    assert [item.text for item in data.load(tmp_path).items if isinstance(item, Document)] == [
        "첫 문단",
        "둘째 문단",
        "# 제목\n\n글",
    ]


def test_one_broken_file_spoils_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "a.jsonl", '{"text": "글"}\n')
    broken = save(tmp_path / "b.jsonl", '{"text": "글"}\n{"tex')
    assert f"{broken} 2번째 줄" in refusal(tmp_path)


def test_a_folder_without_data_is_refused_with_what_can_be_read(tmp_path: Path) -> None:
    save(tmp_path / "그림.png", "")
    assert ".jsonl" in refusal(tmp_path)


def test_splitting_a_file_over_a_folder_leaves_the_fingerprint(tmp_path: Path) -> None:
    whole = data.load(save(tmp_path / "전부.csv", "text\n가\n나\n"))
    save(tmp_path / "폴더" / "1.csv", "text\n가\n")
    save(tmp_path / "폴더" / "2.jsonl", '{"text": "나"}')
    assert data.load(tmp_path / "폴더").fingerprint == whole.fingerprint


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["없는 파일.csv", "data/train.jsonl", "./a/b", "a/b/c", "a"])
def test_a_mistyped_path_is_not_looked_up_on_the_hub(name: str) -> None:
    assert refusal(name).startswith(f"{name}: 그런 파일이나 폴더가 없습니다")


@pytest.mark.parametrize("name", ["", "  "])
def test_a_blank_path_is_not_the_current_folder(name: str) -> None:
    assert "경로가 비어 있습니다" in refusal(name)


def test_a_name_in_a_folder_that_is_here_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "owner" / "a.csv", "text\n글\n")
    assert "그런 파일이나 폴더가 없습니다" in refusal("owner/name")
    assert data.load("owner").items == (Document("글"),)


def test_a_hub_that_cannot_be_reached_says_what_to_do() -> None:
    pytest.importorskip("datasets")
    message = refusal("beomi/KoAlpaca-v1.1a")
    assert message.startswith("beomi/KoAlpaca-v1.1a: 그런 파일이 없고, Hugging Face에서도")
    assert "내려받아" in message


def test_reading_data_needs_no_guest(tmp_path: Path) -> None:
    path = save(tmp_path / "a.csv", "text\n글\n")
    program = (
        "import sys; from lightkorllm import data; "
        f"assert len(data.load({str(path)!r}).items) == 1; print(*sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    ).stdout
    assert not {"pandas", "pyarrow", "datasets", "pydantic", "jinja2"} & set(output.split())
