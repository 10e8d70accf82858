"""A conversation as in a terminal, in the test's own process, on an engine without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lightkorllm.generation import GenerationRequest
from lightkorllm.terminal.session import Session


@dataclass
class Talking:
    """A session, what it shows, and what its engine was asked."""

    session: Session
    console: pytest.CaptureFixture[str]
    requests: list[GenerationRequest] = field(default_factory=list)

    def says(self, *lines: str) -> str:
        """What is shown for the last of some lines."""
        for line in lines:
            self.console.readouterr()
            self.session.handle(line)
        return self.console.readouterr().out


Talk = Callable[..., Talking]
