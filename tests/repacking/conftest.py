"""Tiny checkpoints that are made once: a plain LLaMA with grouped heads."""

from __future__ import annotations

from pathlib import Path

import pytest

from repacking import families


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of llama3's shape: 4 heads, 2 of keys, width 64."""
    return families.make("llama3", tmp_path_factory.mktemp("plain") / "작은 라마")
