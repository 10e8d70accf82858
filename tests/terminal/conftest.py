"""Conversations in this process, on engines without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from lightkorllm.engines.echo import EchoEngine, Step, words
from lightkorllm.generation import GenerationRequest
from lightkorllm.terminal.local import LocalBackend
from lightkorllm.terminal.screen import Screen
from lightkorllm.terminal.session import Session
from live import chat_on
from talking import Talk, Talking


@pytest.fixture
def talk(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Starts sessions: `talk(script, adapters=("말투",))`."""
    monkeypatch.setenv("COLUMNS", "80")

    def start(
        script: Callable[[GenerationRequest], Iterable[Step]] = words, **options: object
    ) -> Talking:
        requests: list[GenerationRequest] = []

        def recorded(request: GenerationRequest) -> Iterable[Step]:
            requests.append(request)
            return script(request)

        engine = EchoEngine(recorded, **options)  # type: ignore[arg-type]
        return Talking(Session(LocalBackend(chat_on(engine)), Screen()), capsys, requests)

    return start
