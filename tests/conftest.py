"""Shared fixtures: a server on the echo engine over a real socket, and the real embedded model."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightkorllm import embedded
from lightkorllm.chat import ChatModel
from lightkorllm.engines.base import Engine
from lightkorllm.engines.echo import EchoEngine, Script
from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
from lightkorllm.errors import MissingPackage
from lightkorllm.options import ServeOptions
from lightkorllm.server.app import create_app
from lightkorllm.server.door import Door
from lightkorllm.server.guard import Guard
from lightkorllm.server.loading import ModelHolder
from live import LiveServer, Serve, chat_on

os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """GPTQModel leaves temporary folders of its own to the garbage collector."""
    left = "ignore:Implicitly cleaning up <TemporaryDirectory '.*gptqmodel_:ResourceWarning"
    config.addinivalue_line("filterwarnings", left)


HEAVY = {
    "torch",
    "transformers",
    "safetensors",
    "tokenizers",
    "gguf",
    "peft",
    "datasets",
    "pyarrow",
}
LIGHT = importlib.util.find_spec("torch") is None  # installed without the extra gptq


@contextmanager
def _skipped_where_light() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if LIGHT and (error.name or "").partition(".")[0] in HEAVY:
            pytest.skip(f"needs {error.name}")
        raise
    except MissingPackage as error:
        if LIGHT:
            pytest.skip(error.message)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    with _skipped_where_light():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    with _skipped_where_light():
        yield


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers: `serve(script, slots=2)`, `serve(engine=engine, api_key=("k",))` or
    `serve(chat=chat)`."""
    started: list[tuple[LiveServer, threading.Thread]] = []

    def start(
        script: Script | None = None,
        *,
        engine: Engine | None = None,
        chat: ChatModel | None = None,
        slots: int = 4,
        queue: int = 32,
        max_history: int = 0,
        **options: object,
    ) -> LiveServer:
        if chat is None:
            engine = engine or EchoEngine(*([script] if script else []), slots=slots, queue=queue)
            chat = chat_on(engine, max_history=max_history)
        engine = chat.engine
        settings = ServeOptions(**options)  # type: ignore[arg-type]
        guard, door = Guard(), Door("127.0.0.1", 0)
        holder = ModelHolder.of(chat)
        app = create_app(holder, settings, guard=guard)
        threads = engine.slots.count + engine.slots.queue + 8
        thread = threading.Thread(target=door.serve, args=(app,), kwargs={"threads": threads})
        thread.start()
        live = LiveServer(engine, guard, door)
        started.append((live, thread))
        return live

    yield start
    for live, thread in started:
        live.guard.drain(0)
        live.door.stop()
        thread.join(timeout=10)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def embedded_gguf() -> Path:
    """The real embedded model's file."""
    return embedded.path()


@pytest.fixture(scope="session")
def llamacpp(embedded_gguf: Path) -> Iterator[LlamaCppEngine]:
    """One llama.cpp engine with the real embedded model, for the whole session."""
    engine = LlamaCppEngine(
        LlamaCppSettings(
            embedded_gguf, name=embedded.NAME, context_length=1024, n_parallel=4, queue=16
        )
    )
    yield engine
    engine.close()
