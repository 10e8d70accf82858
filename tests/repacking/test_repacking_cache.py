"""A folder is converted once for each of its states, also by two at the same time."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from lightkorllm import repacking
from lightkorllm.errors import ModelBroken
from repacking import packing
from repacking.gguf_file import GgufFile


@pytest.fixture
def folder(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    packing.checkpoint(plain, tmp_path / "작은 라마-gptq")
    return tmp_path / "작은 라마-gptq"


def test_the_second_time_nothing_is_converted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = repacking.cached(folder)
    made = first.stat().st_mtime_ns
    assert [r.levelno for r in caplog.records if "옮겨 적습니다" in r.message] == [logging.WARNING]
    caplog.clear()
    assert repacking.cached(folder) == first
    assert first.stat().st_mtime_ns == made
    assert not caplog.records
    assert "blk.0.attn_q.weight" in GgufFile(first).kinds()


def test_a_changed_folder_is_converted_anew_and_the_old_file_goes(folder: Path) -> None:
    first = repacking.cached(folder)
    stat = (folder / "model.safetensors").stat()
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    second = repacking.cached(folder)
    assert second != first
    assert sorted(path.name for path in second.parent.iterdir()) == sorted(
        [second.name, f"{second.stem}.lightkorllm.json"]
    )


def test_two_at_once_both_get_a_whole_file(folder: Path) -> None:
    got: list[Path] = []
    threads = [
        threading.Thread(target=lambda: got.append(repacking.cached(folder))) for _ in "가나"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[0] == got[1]
    assert len(GgufFile(got[0]).kinds()) == 31
    assert not list(got[0].parent.glob("*.part"))


def test_a_folder_that_cannot_be_converted_leaves_nothing(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelBroken, match=r"tokenizer\.json"):
        repacking.cached(folder)
    assert not [path for path in folder.parent.glob("cache/**/*") if path.is_file()]
