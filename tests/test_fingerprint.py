"""The fingerprint of a base: the same wherever it lies, another for other weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import checkpoints
from lightkorllm import repacking
from lightkorllm.errors import ModelBroken, ModelNotFound
from lightkorllm.fingerprint import fingerprint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.llama(tmp_path_factory.mktemp("models") / "작은 라마")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return repacking.to_gguf(folder, folder.with_name("작은 라마.gguf")).path


def test_a_copy_under_another_name_and_description_is_the_same(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "사본")
    checkpoints.edit(copy / "config.json", _name_or_path="다른 이름")
    assert fingerprint(copy) == fingerprint(folder)
    assert fingerprint(copy / "model.safetensors") == fingerprint(folder)
    assert fingerprint(Path(shutil.copy(file, tmp_path / "사본.gguf"))) == fingerprint(file)
    assert len(fingerprint(file)) == 64


def test_other_weights_shapes_and_types_are_others(
    folder: Path, file: Path, tmp_path: Path
) -> None:
    seeded = checkpoints.llama(tmp_path / "다른 씨앗", seed=1)
    others = (
        checkpoints.llama(tmp_path / "다른 너비", hidden=96),
        checkpoints.gptq(folder, tmp_path / "4비트"),
        repacking.to_gguf(seeded, tmp_path / "다른 씨앗.gguf").path,
    )
    found = {fingerprint(model) for model in (folder, file, seeded, *others)}
    assert len(found) == 6


def test_what_is_no_model_has_none(tmp_path: Path) -> None:
    (tmp_path / "글.gguf").write_text("안녕하세요", encoding="utf-8")
    with pytest.raises(ModelBroken):
        fingerprint(tmp_path / "글.gguf")
    with pytest.raises(ModelNotFound):
        fingerprint(tmp_path / "없는 폴더")
