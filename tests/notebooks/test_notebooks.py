"""The notebooks run from top to bottom on tiny models, and are stored as they should be read."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import nbformat
import pytest

import checkpoints
import hollow
import notebook_run
import tiny
from lightkorllm import catalog, checkpoint
from notebook_run import FOLDER, NAMES

FREE_CARD = 15  # GB of a T4

every = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "작은-모델")


def test_a_model_is_quantised_and_its_loss_is_shown(plain: Path, tmp_path: Path) -> None:
    shown = notebook_run.execute(
        "LightKorLLM_auto_gptq", tmp_path, 설치=False, 모델=str(plain), 결과="작은-4비트",
        묶음_크기=32, 보정_토막=8, 토막_길이=64, 보고서_토큰=64,
    )  # fmt: skip

    assert checkpoint.read(tmp_path / "작은-4비트").gptq
    assert "메모리: 약" in shown.text["check"]
    assert "다 되었습니다" in shown.text["quantize"]
    assert "| 1순위 일치 |" in shown.text["table"]
    assert "image/png" in shown.kinds["plot"]
    assert re.search(r"가중치: .+ → .+ \(\d+%\)", shown.text["size"])
    for told in (str(plain), "작은-4비트"):
        assert f"[{told}]\n" in shown.text["answers"]


def test_a_quantised_model_learns_and_its_answers_are_shown(plain: Path, tmp_path: Path) -> None:
    base = checkpoints.gptq(plain, tmp_path / "작은-4비트")
    lines = (
        json.dumps({"질문": f"{n}층에는 무엇이 있나요?", "답변": f"{n}층은 식당입니다."})
        for n in range(1, 17)
    )
    (tmp_path / "안내.jsonl").write_text("\n".join(lines), encoding="utf-8")

    shown = notebook_run.execute(
        "LightKorLLM_peft", tmp_path, 설치=False, 모델=base.name, 자료="안내.jsonl", 결과="안내원",
        최대_단계=4, 학습률=0.01, 최대_길이=256,
    )  # fmt: skip

    assert "\x1b[32m1층은 식당입니다.<EOS>" in shown.text["data"]
    assert "4단계" in shown.text["check"]
    assert "떼어 둔 행의 손실" in shown.text["train"]
    assert "image/png" in shown.kinds["loss"]
    assert shown.text["samples"].startswith("| 질문 | 배우기 전 | 배운 뒤 |")
    _, _, answers = shown.text["ask"].partition("[none]\n")
    bare, _, learned = answers.partition("\n\n[mine]\n")
    assert bare.strip()
    assert learned.strip() not in ("", bare.strip())


def test_a_server_is_started_called_and_ended(tmp_path: Path) -> None:
    model = checkpoints.reciter(tmp_path / "읊는-모델")

    shown = notebook_run.execute(
        "LightKorLLM_launcher", tmp_path, 설치=False, 모델=model.name, 포트=_free_port(),
        최대_토큰=32, 켜_두기=False,
    )  # fmt: skip

    assert "준비되었습니다" in shown.text["wait"]
    for asked in ("inferweb", "chatweb", "stream", "openai"):
        assert "서울에서" in shown.text[asked]
    assert "문답 수: 2" in shown.text["chatweb"]
    assert "끝난 까닭: length" in shown.text["stream"]
    assert "코드: 0" in shown.text["stop"]


@pytest.mark.case("F20")
@every
def test_12_8b_is_refused_on_a_free_card_before_anything_is_loaded(
    name: str, tmp_path: Path
) -> None:
    big = hollow.POLYGLOT_12_8B
    hollow.write(tmp_path / "큰-모델", big, hollow.gpt_neox(big))

    shown = notebook_run.execute_until_it_stops(
        name, tmp_path, 설치=False, 모델="큰-모델", 카드_GB=FREE_CARD
    )

    told = shown.text["fit"]
    assert "12.89B" in told
    assert "들어가지 않습니다" in told
    assert all(size in told for size in ("24.0 GB", "15.0 GB"))
    assert [cell for cell, text in shown.text.items() if text] == ["fit"]
    (advice,) = (line for line in told.splitlines() if "무료 T4라면" in line)
    named = [entry for entry in catalog.entries() if entry.name in advice]
    assert len(named) == 2
    for entry in named:
        assert _fits_to_learn(entry)


@pytest.mark.case("F20")
@every
def test_the_model_that_a_notebook_begins_with_fits_a_free_card(name: str) -> None:
    chosen = catalog.find(notebook_run.parameters(notebook_run.read(name))["모델"])
    assert chosen is not None
    assert _fits_to_learn(chosen)
    assert not chosen.non_commercial


def _fits_to_learn(entry: catalog.Entry) -> bool:
    """In 16 bit, with half as much again for learning."""
    return 1.5 * entry.as_it_comes < FREE_CARD


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@every
def test_a_notebook_is_stored_without_results(name: str) -> None:
    book = notebook_run.read(name)
    nbformat.validate(book)
    assert notebook_run.shown(book) == notebook_run.Shown(
        {cell.id: "" for cell in book.cells}, {cell.id: set() for cell in book.cells}
    )
    for cell in book.cells:
        assert cell.get("execution_count") is None


@every
def test_each_parameter_is_a_field_of_a_form(name: str) -> None:
    book = notebook_run.read(name)
    lines = notebook_run.parameters_cell(book).source.splitlines()
    assert lines[0].startswith("# @title ")
    for line in lines[1:]:
        assert re.fullmatch(r"\w+ = \S.*  # @param [\[{].*[\]}]", line), line


@every
def test_each_parameter_is_used(name: str) -> None:
    book = notebook_run.read(name)
    rest = "\n".join(cell.source for cell in book.cells if cell.id != "parameters")
    for parameter in notebook_run.parameters(book):
        assert re.search(rf"\b{parameter}\b", rest), parameter


@every
def test_only_the_install_cell_installs_and_a_parameter_turns_it_off(name: str) -> None:
    book = notebook_run.read(name)
    installing = [cell for cell in book.cells if "pip install" in cell.source]
    assert [cell.id for cell in installing] == ["install"]
    first, *rest = installing[0].source.splitlines()
    assert first == "if 설치:"
    assert all(line.startswith("    ") for line in rest)


@every
def test_a_cell_holds_one_idea(name: str) -> None:
    for cell in notebook_run.read(name).cells:
        assert len(cell.source.splitlines()) <= 15, cell.id


@every
def test_it_asks_for_a_free_card_and_begins_with_its_name(name: str) -> None:
    book = notebook_run.read(name)
    assert book.metadata["accelerator"] == "GPU"
    assert book.metadata["colab"]["gpuType"] == "T4"
    assert book.metadata["colab"]["name"] == f"{name}.ipynb"


def test_there_are_no_other_notebooks() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.ipynb")) == sorted(NAMES)
