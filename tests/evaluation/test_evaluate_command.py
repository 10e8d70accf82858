"""`lightkorllm evaluate`: tables, files, tasks, and what can't be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny
from lightkorllm import evaluation, plotting
from lightkorllm.cli import main
from lightkorllm.errors import OptionError
from lightkorllm.evaluation import Drift, Fit, Measured, report, tasks


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "모델가")


def test_one_model_is_measured_on_the_korean_and_english_texts_that_ship(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), "--tokens", "100"]) == 0
    told = capsys.readouterr().out
    assert "한국어" in told
    assert "영어" in told
    assert "퍼플렉시티" in told


def test_two_models_are_compared_and_the_report_is_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.llama(tmp_path / "모델나", seed=5)
    text = tmp_path / "내글.txt"
    text.write_text("나의 글을 재 봅니다. " * 50, encoding="utf-8")
    output = tmp_path / "보고서"
    code = main([
        "evaluate", str(model), str(other), "--text", str(text), "--tokens", "100",
        "--output_dir", str(output),
    ])  # fmt: skip
    assert code == 0, capsys.readouterr().err
    told = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert (told["a"], told["b"]) == ("모델가", "모델나")
    assert told["samples"][0]["sample"] == "내글"
    assert told["samples"][0]["language"] == "ko"
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "내글 (한국어)" in (output / "report.md").read_text(encoding="utf-8")


def test_a_text_that_is_not_there_is_told_in_a_sentence(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), "--text", "없는글.txt"]) == 2
    assert "없는글.txt" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "없는모델"]) == 2
    assert "없는모델" in capsys.readouterr().err


def _report(*names: str) -> report.Report:
    rows = [
        Measured(name, "ko", Fit(20.0, 0.9, 100), Fit(24.0, 1.0, 100), Drift(0.1, 0.9))
        for name in names
    ]
    return report.Report("a", "b", rows)


@pytest.mark.parametrize("font", [True, False])
def test_the_plot_is_drawn_with_and_without_a_korean_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, font: bool
) -> None:
    """Warnings are errors: a letter that no font has would be one."""
    if not font:
        monkeypatch.setattr(plotting, "_FONTS", ())
        plotting.korean_font.cache_clear()
    elif plotting.korean_font() is None:
        pytest.skip("no Korean font on this machine")
    try:
        report.write(_report("내장 글", "헌법"), tmp_path)
    finally:
        plotting.korean_font.cache_clear()
    assert (tmp_path / "report.png").stat().st_size > 5000


def test_a_task_of_lm_eval_is_run_on_the_model(model: Path, tmp_path: Path) -> None:
    """A task of our own with its data beside it: the hub's aren't here."""
    rows = [
        {"question": "하늘의 색은?", "choices": ["파랑", "사과"], "answer": 0},
        {"question": "하나 더하기 하나는?", "choices": ["바다", "둘"], "answer": 1},
    ]
    data = tmp_path / "data.jsonl"
    data.write_text(
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8"
    )
    (tmp_path / "task.yaml").write_text(
        "task: 우리문제\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {data}\ntest_split: test\noutput_type: multiple_choice\n"
        'doc_to_text: "{{question}}\\n"\ndoc_to_choice: "{{choices}}"\ndoc_to_target: answer\n'
        "metric_list:\n  - metric: acc\n",
        encoding="utf-8",
    )
    pytest.importorskip("lm_eval")
    subject = evaluation.open_subject(model)
    (score,) = tasks.run(subject, ["우리문제"], folder=tmp_path)
    assert score.metric == "acc"
    assert score.value in (0.0, 0.5, 1.0)


def test_an_unknown_task_is_told_by_name(model: Path) -> None:
    pytest.importorskip("lm_eval")
    with pytest.raises(OptionError, match="없는과제"):
        tasks.run(evaluation.open_subject(model), ["없는과제"])
