"""Tiny bases and a few Korean conversations to fine-tune them on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import checkpoints
import tiny
from lightkorllm.data import corpus
from lightkorllm.data.dataset import Document

QUESTIONS = 24


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "작은-모델")


@pytest.fixture(scope="session")
def gptq(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.gptq(plain, tmp_path_factory.mktemp("models") / "작은-모델-4bit")


@pytest.fixture(scope="session")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short questions with short answers, as JSON lines of messages."""
    words = [item.text for item in corpus.passages("held_out", language="ko")
             if isinstance(item, Document)]  # fmt: skip
    assert len(words) >= QUESTIONS
    rows = [
        {"messages": [{"role": "user", "content": f"{text[:24]}?"},
                      {"role": "assistant", "content": f"네, {text[24:56]}"}]}
        for text in words[:QUESTIONS]
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("data") / "문답.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    file.write_text("\n".join(lines), encoding="utf-8")
    return file
