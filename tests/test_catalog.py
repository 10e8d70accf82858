"""Short names of Korean models: each stands for a repository, and a slip is told what is near."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm import catalog, cli, hub, prompts
from lightkorllm.errors import ModelNotFound


def test_the_originals_own_model_comes_first() -> None:
    first = catalog.entries()[0]
    assert first.repository == "WGNW/llama-2-7b-ko-auto-gptq-full-v2"
    assert (first.format, first.four_bit, first.prompt_format) == ("gptq", 7.0, "lightkor")
    assert "5GB" in first.advice


@pytest.mark.parametrize("entry", catalog.entries(), ids=lambda entry: str(entry.name))
def test_every_model_is_told_in_full(entry: catalog.Entry) -> None:
    assert hub.is_name(entry.repository)
    assert hub.repository(entry.name) == entry.repository
    assert entry.prompt_format in prompts.names()
    assert 0 < entry.four_bit < entry.as_it_comes or entry.format == "gptq"
    assert any("가" <= letter <= "힣" for letter in entry.advice)
    assert ("NC" in entry.licence) == entry.non_commercial


def test_names_are_unique() -> None:
    names = [entry.name for entry in catalog.entries()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("kanana-1.5-2b", "kanana-1.5-2.1b"),
        ("카나나-kanana", "kanana-1.5-8b"),
        ("midm", "midm-2.0-mini"),
        ("llama2-ko", "llama-2-ko-7b-gptq"),
        ("EXAONE", "exaone-4.0-1.2b"),
    ],
)
def test_a_slip_of_a_name_is_told_what_is_near(asked: str, meant: str) -> None:
    with pytest.raises(ModelNotFound, match=f"{asked}.*비슷한 이름.*{meant}"):
        hub.resolve_model(asked)


def test_a_word_that_is_nothing_says_all_that_it_is_not() -> None:
    with pytest.raises(ModelNotFound, match=r"폴더나 \.gguf 파일도, 저장소.*lightkorllm models"):
        hub.resolve_model("없는-모델")


def test_what_looks_like_a_file_stays_a_path() -> None:
    assert hub.resolve_model("없는.gguf") == Path("없는.gguf")
    assert hub.resolve_model("./kanana-1.5-2.1b") == Path("kanana-1.5-2.1b")


def test_a_folder_of_that_name_goes_before_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kanana-1.5-2.1b").mkdir()
    assert hub.resolve_model("kanana-1.5-2.1b") == Path("kanana-1.5-2.1b")


@pytest.mark.parametrize(
    "argv",
    [
        ["serve", "--model", "kanana-1.5-2b"],
        ["chat", "--model", "kanana-1.5-2b", "--prompt", "안녕?"],
        ["fit", "kanana-1.5-2b"],
        ["quantize", "--model", "kanana-1.5-2b"],
        ["finetune", "--model", "kanana-1.5-2b", "--dataset", "builtin:held_out"],
        ["evaluate", "kanana-1.5-2b"],
        ["export", "kanana-1.5-2b"],
        ["data", "builtin:held_out", "--model", "kanana-1.5-2b"],
        ["merge", "--model", "kanana-1.5-2b", "--peft_lora_dir", "없는-어댑터"],
    ],
    ids=lambda argv: str(argv[0]),
)
def test_every_command_that_takes_a_model_suggests_the_nearest_names(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert "비슷한 이름: kanana-1.5-2.1b" in capsys.readouterr().err
