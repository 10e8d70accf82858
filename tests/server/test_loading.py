"""A model that nobody asks for leaves memory, and comes back for the next one who does."""

from __future__ import annotations

import threading
import time

import psutil
import pytest

from lightkorllm.chat import ChatModel, open_chat
from lightkorllm.conversation import Conversation
from lightkorllm.engines.echo import EchoEngine, endless
from lightkorllm.engines.llamacpp import LlamaCppEngine
from lightkorllm.errors import EngineUnavailable, ModelBroken
from lightkorllm.generation import SamplingParams
from lightkorllm.options import ChatOptions
from lightkorllm.server.loading import ModelHolder
from live import chat_on


class Counted(EchoEngine):
    """An echo engine that knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def _until(condition: object, within: float = 3.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


def _holder(opened: list[Counted], keep_alive: float) -> ModelHolder:
    def open_model() -> ChatModel:
        time.sleep(0.05)
        opened.append(Counted(endless("그 "), delay=0.01))
        return chat_on(opened[-1])

    holder = ModelHolder(open_model, keep_alive=keep_alive)
    holder.start()
    assert _until(lambda: holder.ready)
    return holder


def test_an_idle_model_sleeps_and_wakes_once_for_all_who_ask() -> None:
    opened: list[Counted] = []
    holder = _holder(opened, keep_alive=0.2)
    assert _until(lambda: opened[0].closed)
    assert holder.loaded is None
    assert holder.ready
    got: list[ChatModel] = []
    threads = [threading.Thread(target=lambda: got.append(holder.model)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 2
    assert len({id(model) for model in got}) == 1
    holder.close()
    assert opened[1].closed


def test_a_model_that_answers_is_not_idle() -> None:
    opened: list[Counted] = []
    holder = _holder(opened, keep_alive=0.2)
    model = holder.model
    params = SamplingParams(max_tokens=60)
    model.reply(Conversation.ask("안녕?"), params)  # takes about 0.6 s
    assert not opened[0].closed
    holder.close()


def test_without_keep_alive_a_model_stays() -> None:
    opened: list[Counted] = []
    holder = _holder(opened, keep_alive=0)
    time.sleep(0.3)
    assert holder.loaded is not None
    holder.close()


def test_while_loading_for_the_first_time_questions_are_told_to_wait() -> None:
    holder = ModelHolder(lambda: chat_on(EchoEngine()))
    assert not holder.ready
    with pytest.raises(EngineUnavailable):
        _ = holder.model


def test_a_model_that_arrives_after_the_end_is_closed() -> None:
    opened: list[Counted] = []
    gate = threading.Event()

    def open_model() -> ChatModel:
        gate.wait(5)
        opened.append(Counted())
        return chat_on(opened[-1])

    holder = ModelHolder(open_model)
    holder.start()
    holder.close()
    gate.set()
    assert _until(lambda: bool(opened) and opened[0].closed)


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    told: list[object] = []

    def open_model() -> ChatModel:
        raise ModelBroken("깨짐")

    holder = ModelHolder(open_model, on_end=told.append)
    holder.start()
    assert _until(lambda: bool(told))
    assert isinstance(told[0], ModelBroken)


@pytest.mark.model
def test_the_real_model_leaves_memory_and_comes_back() -> None:
    options = ChatOptions(context_length=256, n_parallel=1)
    holder = ModelHolder(lambda: open_chat(options), keep_alive=0.5)
    holder.start()
    assert _until(lambda: holder.ready, within=20)
    engine = holder.model.engine
    assert isinstance(engine, LlamaCppEngine)
    assert engine.pid
    child = psutil.Process(engine.pid)
    assert _until(lambda: not child.is_running(), within=10)
    params = SamplingParams(max_tokens=4)
    assert holder.model.reply(Conversation.ask("안녕?"), params).usage.completion_tokens > 0
    holder.close()
