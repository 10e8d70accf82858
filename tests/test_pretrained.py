"""The door to transformers: whatever an editor left in a folder, the same model comes out."""

from __future__ import annotations

import codecs
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import checkpoints
import tiny
from lightkorllm import checkpoint, evaluation, pretrained, repacking
from lightkorllm.vocabulary import Vocabulary

TEXT = "대한민국의 수도는 서울입니다. 궳뛟"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain model, and a GPTQ one whose settings lie in quantize_config.json."""
    plain = tiny.llama(tmp_path_factory.mktemp("그대로"))
    packed = checkpoints.gptq(plain, tmp_path_factory.mktemp("4비트"))
    config = json.loads((packed / "config.json").read_text(encoding="utf-8"))
    checkpoints.edit(packed / "quantize_config.json", **config["quantization_config"])
    checkpoints.edit(packed / "config.json", quantization_config=None)
    return {"plain": plain, "gptq": packed}


def logits(folder: Path) -> Any:
    import torch

    subject = evaluation.open_subject(folder)
    ids = subject.tokenizer(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        return subject.model(ids).logits


def with_marks(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    for file in target.glob("*.json"):
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    return target


@pytest.mark.case("K18")
@pytest.mark.parametrize("kind", ["plain", "gptq"])
def test_a_byte_order_mark_in_any_json_file_changes_nothing(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    marked = with_marks(folders[kind], tmp_path / "메모장으로 저장")
    assert checkpoint.read(marked).config == checkpoint.read(folders[kind]).config
    assert checkpoint.read(marked).gptq == checkpoint.read(folders[kind]).gptq
    assert (logits(marked) == logits(folders[kind])).all()
    assert all(file.read_bytes().startswith(codecs.BOM_UTF8) for file in marked.glob("*.json"))


@pytest.mark.case("K18")
def test_the_tokenizer_of_a_marked_folder_is_the_same(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    marked = with_marks(folders["plain"], tmp_path / "a")
    same = [pretrained.load_tokenizer(folder)(TEXT) for folder in (marked, folders["plain"])]
    assert same[0].input_ids == same[1].input_ids


def test_a_folder_without_marks_is_not_copied(folders: dict[str, Path]) -> None:
    with pretrained.plain_layout(checkpoint.read(folders["plain"])) as folder:
        assert folder == folders["plain"]


@pytest.fixture
def gguf(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plain model as a GGUF file, and a cache that is empty."""
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "캐시"))
    pretrained.load_gguf_tokenizer.cache_clear()
    return repacking.to_gguf(folders["plain"], tmp_path / "작은 라마.gguf").path


def kept(folder: Path) -> list[Path]:
    return list((folder / "캐시" / "lightkorllm").glob("tokenizers/*/tokenizer.json"))


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_a_gguf_tokenizer_that_took_long_is_kept_and_read_back_the_same(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(pretrained, "_WORTH_KEEPING", seconds)
    first = Vocabulary(pretrained.load_gguf_tokenizer(gguf))
    assert len(kept(tmp_path)) == (seconds == 0)
    pretrained.load_gguf_tokenizer.cache_clear()
    again = Vocabulary(pretrained.load_gguf_tokenizer(gguf))
    assert again.encode(TEXT) == first.encode(TEXT)
    assert (again.bos, again.eos, again.ends) == (first.bos, first.eos, first.ends)
    assert again.adds_bos == first.adds_bos
    assert [file.name for file in (tmp_path / "캐시").rglob("tmp*")] == []


def test_a_file_with_another_header_has_another_tokenizer_in_the_cache(
    gguf: Path, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "_WORTH_KEEPING", 0)
    pretrained.load_gguf_tokenizer(gguf)
    pretrained.load_gguf_tokenizer(gguf.rename(tmp_path / "옮긴 파일.gguf"))
    assert len(kept(tmp_path)) == 1
    other = tiny.llama(tmp_path / "다른", vocab_size=700)
    pretrained.load_gguf_tokenizer(repacking.to_gguf(other, tmp_path / "다른.gguf").path)
    assert len(kept(tmp_path)) == 2


def test_a_cache_that_cannot_be_written_is_no_error(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "_WORTH_KEEPING", 0)
    (tmp_path / "캐시").write_text("폴더가 아닙니다", encoding="utf-8")
    assert pretrained.load_gguf_tokenizer(gguf)(TEXT).input_ids
