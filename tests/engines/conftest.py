"""Tiny checkpoints and transformers engines on them, made once for all tests of the engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import checkpoints
from checkpoints import settings
from lightkorllm import cli
from lightkorllm.engines.transformers import TransformersEngine


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """`lightkorllm serve` with these flags, which must be refused; gives the one sentence."""
    logger = logging.getLogger("lightkorllm")
    level = logger.level

    def serve(*flags: str) -> str:
        assert cli.main(["serve", "--port", "1", *flags]) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith("오류: ")
        assert "Traceback" not in "".join(said)
        return said[-1]

    yield serve
    logger.setLevel(level)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain LLaMA folder."""
    return checkpoints.llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_gptq(tiny_llama: Path) -> Path:
    """The same in 4 bit, group size 32."""
    return checkpoints.gptq(tiny_llama, tiny_llama.with_name("tiny-gptq"))


@pytest.fixture(scope="session")
def tiny_lora(tiny_llama: Path) -> Path:
    """A PEFT adapter for it."""
    return checkpoints.lora(tiny_llama, tiny_llama.with_name("tiny-lora"))


@pytest.fixture(scope="session")
def reciting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransformersEngine]:
    """One engine that recites Korean for ever, for the whole session."""
    folder = checkpoints.reciter(tmp_path_factory.mktemp("models") / "reciter")
    engine = TransformersEngine(settings(folder, queue=16))
    yield engine
    engine.close()
