"""`lightkorllm export`: one sentence per fact, one per fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm import cli
from repacking import packing


def test_a_folder_becomes_a_file_and_the_next_command_is_told(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packing.checkpoint(plain, tmp_path / "gptq")
    target = tmp_path / "모델.gguf"
    assert cli.main(["export", str(tmp_path / "gptq"), "--output", str(target)]) == 0
    said = capsys.readouterr().out
    assert target.is_file()
    assert "가중치는 하나도 바뀌지 않았습니다" in said
    assert f"lightkorllm serve --model {target}" in said


def test_without_a_name_the_file_is_named_after_the_folder(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(plain), "--format", "gguf", "--type", "q8_0"]) == 0
    assert (tmp_path / f"{plain.name}.gguf").is_file()


@pytest.mark.parametrize(
    ("more", "word"),
    [([], "--overwrite"), (["--overwrite", "--type", "q9"], "q9"), (["--type", "q4_0"], "이미")],
)
def test_faults_are_one_sentence(
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    word: str,
) -> None:
    (tmp_path / "m.gguf").touch()
    code = cli.main(["export", str(plain), "--output", str(tmp_path / "m.gguf"), *more])
    said = capsys.readouterr().err
    assert code == 2
    assert word in said
    assert said.count("\n") == 1


def test_no_folder_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export"]) == 2
    assert cli.main(["export", str(tmp_path / "없는 폴더")]) == 2
    assert "없습니다" in capsys.readouterr().err
