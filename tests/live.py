"""A server in the test's own process, on the echo engine or a real one, over a real socket."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from lightkorllm import prompts
from lightkorllm.chat import ChatModel
from lightkorllm.engines.base import Engine
from lightkorllm.prompts.base import Settings
from lightkorllm.server.door import Door
from lightkorllm.server.guard import Guard


@dataclass
class LiveServer:
    """A server in this process, on a real socket."""

    engine: Engine
    guard: Guard
    door: Door

    @property
    def port(self) -> int:
        return self.door.port

    def idle(self, within: float = 5.0) -> bool:
        """Whether every slot is free (again) within so many seconds."""
        end = time.monotonic() + within
        slots = self.engine.slots
        while slots.busy or slots.waiting or self.guard.active:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True


def chat_on(engine: Engine, *, max_history: int = 0, name: str = "lightkor") -> ChatModel:
    """A chat model on an engine, in a named prompt format."""
    return ChatModel(engine, prompts.get(name, Settings()), max_history=max_history)


Serve = Callable[..., LiveServer]
