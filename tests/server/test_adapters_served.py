"""Adapters over HTTP on real engines: each request gets the one that it chose, and no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from client import call, events, received, send_raw
from lightkorllm import repacking
from lightkorllm.chat import ChatModel, open_chat
from lightkorllm.options import ChatOptions
from live import LiveServer, Serve

WORDS = {"가": "서울 날씨 맑음", "나": "부산 바다 파도 소리"}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.speaker(tmp_path_factory.mktemp("models") / "말하는 모델")


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """What each adapter says over and over; they lie beside the model."""
    return {
        name: checkpoints.speaking(folder, folder.with_name(name), words)
        for name, words in WORDS.items()
    }


@pytest.fixture(scope="module", params=["transformers", "llamacpp", "llamacpp over a folder"])
def chat(request: pytest.FixtureRequest, folder: Path, said: dict[str, str]) -> Iterator[ChatModel]:
    """Both engines; llama.cpp also with the model itself converted on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.with_name("cache")))
        patch.setenv("LOCALAPPDATA", str(folder.with_name("cache")))
        engine, _, over_a_folder = request.param.partition(" ")
        model = folder
        if engine == "llamacpp" and not over_a_folder:
            model = folder.with_name(f"{folder.name}.gguf")
            repacking.to_gguf(folder, model, overwrite=True)
        chat = open_chat(
            ChatOptions(
                quantized_model_dir=str(model),
                peft_lora_dir=tuple(f"{name}={folder.with_name(name)}" for name in said),
                engine=engine,
                device="cpu",
                threads=1,
                context_length=2048,
            )
        )
    yield chat
    chat.close()


@pytest.fixture
def live(chat: ChatModel, serve: Serve) -> LiveServer:
    return serve(chat=chat)


def _ask(question: str, adapter: str, **more: Any) -> dict[str, Any]:
    return {"input": question, "adapter": adapter, "temperature": 0, "max_new_token": 24, **more}


def _only(text: str, words: str) -> bool:
    """Whether a text is these words over and over, cut off anywhere."""
    whole = words.strip() + words * 500
    return len(text) > len(words) and whole.startswith(text)


@pytest.mark.case("S48")
def test_eight_clients_with_two_adapters_never_get_the_other_ones_words(
    live: LiveServer, said: dict[str, str]
) -> None:
    wrong: list[str] = []

    def client(number: int) -> None:
        name = "가나"[number % 2]
        for turn in range(6):
            question = f"{turn}번 질문입니다. " * (1 + (number + turn) % 5)
            if turn % 2:
                body = {"messages": [{"role": "user", "content": question}], "model": name}
                answer = call(live.port, CHAT, {**body, "temperature": 0, "max_tokens": 24})
                text = answer.json["choices"][0]["message"]["content"]
            else:
                text = call(live.port, "/inferweb", _ask(question, name)).json["result"]
            if not _only(text, said[name]):
                wrong.append(f"{name}: {text}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong
    assert live.idle()


@pytest.mark.case("S48")
def test_a_stream_stays_with_its_adapter_when_another_is_asked_midway(
    live: LiveServer, said: dict[str, str]
) -> None:
    body = _ask("오늘은 어때?", "가", stream=True, max_new_token=1500)
    with send_raw(live.port, "/inferweb", body) as sock:
        pieces = received(sock)
        got = b""
        while b"delta" not in got:
            got += next(pieces)
        assert live.engine.slots.busy == 1
        other = call(live.port, "/inferweb", _ask("오늘은 어때?", "나")).json["result"]
        got += b"".join(pieces)
    assert _only(other, said["나"])
    whole = events(got.partition(b"\r\n\r\n")[2])[-1]
    assert whole["usage"]["completion_tokens"] == 1500
    assert _only(whole["result"], said["가"])


@pytest.mark.case("S48")
def test_one_conversation_may_change_its_adapter_at_each_turn(
    live: LiveServer, said: dict[str, str]
) -> None:
    history: Any = None
    for turn, name in enumerate(["가", "나", "나", "none", "가"]):
        body = _ask(f"{turn}번째로 묻습니다", name, history=history)
        answer = call(live.port, "/chatweb", body).json
        history = answer["history"]
        spoken = {adapter for adapter, words in said.items() if _only(answer["result"], words)}
        assert spoken == {name} - {"none"}


def test_the_models_are_listed_and_the_base_answers_by_its_own_name(
    live: LiveServer, said: dict[str, str]
) -> None:
    listed = call(live.port, "/v1/models").json["data"]
    base = live.engine.info.name
    assert [(model["id"], model["parent"]) for model in listed] == [
        (base, None), ("가", base), ("나", base),
    ]  # fmt: skip
    ask = {"messages": [{"role": "user", "content": "누구세요?"}], "max_tokens": 24}
    for name in (base, None):
        answer = call(live.port, CHAT, {**ask, "model": name, "temperature": 0}).json
        assert answer["model"] == base
        text = answer["choices"][0]["message"]["content"]
        assert not any(_only(text, words) for words in said.values())


def test_an_unknown_adapter_is_told_with_those_that_are_there(live: LiveServer) -> None:
    answer = call(live.port, "/inferweb", _ask("네?", "다"))
    assert (answer.status, answer.error["param"]) == (400, "adapter")
    assert "가, 나, none" in answer.error["message"]
