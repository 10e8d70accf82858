"""Clients that students use, unchanged: openai (Python, Node), LangChain, Open WebUI."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from client import call, events
from lightkorllm.engines.echo import EchoEngine, Pause, Step, endless, saying
from lightkorllm.engines.llamacpp import LlamaCppEngine
from lightkorllm.errors import EngineFailed, EngineUnavailable
from live import Serve

MESSAGES: list[Any] = [
    {"role": "system", "content": "친절하게 답하세요."},
    {"role": "user", "content": "안녕?"},
]
SAID = ("안녕", "하세요", ". 무엇을", " 도와드릴까요?")
NODE = Path(__file__).parents[2] / ".venv" / "node"


def _client(port: int, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="k", **{"max_retries": 0, **options}
    )


@pytest.fixture
def client(serve: Serve) -> Iterator[openai.OpenAI]:
    with _client(serve(saying(*SAID)).port) as client:
        yield client


def test_openai_gets_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="echo", messages=MESSAGES, n=2)
    assert [choice.message.content for choice in answer.choices] == ["".join(SAID)] * 2
    assert answer.usage
    assert answer.usage.completion_tokens == 8


@pytest.mark.case("K01", "S15", "S16")
def test_openai_streams_an_answer_with_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="echo", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "".join(SAID)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 4


def test_openai_completes_a_text_and_lists_models(client: openai.OpenAI) -> None:
    assert client.completions.create(model="echo", prompt="옛날에").choices[0].text == "".join(SAID)
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").owned_by == "lightkorllm"


def test_openai_raises_what_went_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="echo", messages=MESSAGES, temperature=9)
    assert (refused.value.param, refused.value.code) == ("temperature", "bad_request")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-9", messages=MESSAGES)


@pytest.mark.case("S13")
def test_openai_raises_in_the_middle_of_a_broken_stream(serve: Serve) -> None:
    port = serve(saying("하나", EngineFailed("고장"))).port
    with _client(port) as client, pytest.raises(openai.APIError, match="고장"):
        list(client.chat.completions.create(model="echo", messages=MESSAGES, stream=True))


@pytest.mark.case("S40")
def test_openai_is_not_disturbed_by_signs_of_life(serve: Serve) -> None:
    with _client(serve(saying(Pause(2.5), "네")).port) as client:
        stream = client.chat.completions.create(model="echo", messages=MESSAGES, stream=True)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(texts) == "네"


def test_openai_tries_again_after_a_503(serve: Serve) -> None:
    scripts: list[list[Step]] = [[EngineUnavailable("잠시만요", retry_after=1)], ["네"]]
    port = serve(engine=EchoEngine(lambda request: scripts.pop(0))).port
    with _client(port, max_retries=2) as client:
        answer = client.chat.completions.create(model="echo", messages=MESSAGES)
    assert answer.choices[0].message.content == "네"


@pytest.mark.case("S06")
def test_openai_that_leaves_a_stream_frees_its_place(serve: Serve) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.01))
    with _client(live.port) as client:
        stream = client.chat.completions.create(
            model="echo", messages=MESSAGES, stream=True, max_tokens=2000
        )
        next(iter(stream))
        stream.close()
        assert live.idle(within=1)


@pytest.mark.case("S47")
def test_openai_reads_logprobs(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="echo", messages=MESSAGES, logprobs=True)
    logprobs = answer.choices[0].logprobs
    assert logprobs
    assert logprobs.content
    data = b"".join(bytes(entry.bytes or []) for entry in logprobs.content)
    assert data.decode() == "".join(SAID)


def test_langchain_answers_and_streams(serve: Serve) -> None:
    port = serve(saying(*SAID)).port
    model = ChatOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key=SecretStr("k"), model="echo", max_retries=0
    )
    talk = [("system", "친절하게"), ("human", "안녕?"), ("ai", "네"), ("human", "누구야?")]
    assert model.invoke(talk).content == "".join(SAID)
    assert "".join(str(chunk.content) for chunk in model.stream("안녕?")) == "".join(SAID)


def test_node_gets_the_same(serve: Serve) -> None:
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "openai").is_dir():
        pytest.skip("needs node and the openai package: `make test` installs it where npm is")
    port = serve(saying(*SAID)).port
    script = NODE / "client.mjs"  # beside its node_modules
    script.write_text(
        (Path(__file__).parent / "openai_client.mjs").read_text(encoding="utf-8"), encoding="utf-8"
    )
    done = subprocess.run(
        [node, str(script), f"http://127.0.0.1:{port}/v1"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got == {
        "text": "".join(SAID),
        "streamed": "".join(SAID),
        "refused": {"status": 400, "param": "temperature", "code": "bad_request"},
        "models": ["echo"],
    }


def test_open_webuis_calls_are_answered(serve: Serve) -> None:
    """Its model list, its chat stream and its title generation, as it sends them."""
    port = serve(saying('{"title": "인사"}')).port
    assert [model["id"] for model in call(port, "/v1/models").json["data"]] == ["echo"]
    chat = {"model": "echo", "messages": MESSAGES, "stream": True}
    assert events(call(port, "/v1/chat/completions", chat).body.replace(b"data: [DONE]", b""))
    title = {
        "model": "echo",
        "messages": [{"role": "user", "content": "### Task:\n대화의 제목을 지으세요."}],
        "stream": False,
        "max_completion_tokens": 1000,
    }
    answer = call(port, "/v1/chat/completions", title)
    assert json.loads(answer.json["choices"][0]["message"]["content"]) == {"title": "인사"}


@pytest.mark.model
def test_the_real_model_through_openai(serve: Serve, llamacpp: LlamaCppEngine) -> None:
    name = llamacpp.info.name
    with _client(serve(engine=llamacpp).port) as client:
        shared: dict[str, Any] = {
            "model": name,
            "messages": MESSAGES,
            "temperature": 0,
            "seed": 1,
            "max_tokens": 24,
        }
        whole = client.chat.completions.create(**shared, logprobs=True, top_logprobs=2)
        stream = client.chat.completions.create(**shared, stream=True)
        texts = [chunk.choices[0].delta.content or "" for chunk in stream]
        content = whole.choices[0].message.content
        assert content == "".join(texts)
        logprobs = whole.choices[0].logprobs
        assert logprobs
        assert logprobs.content
        assert b"".join(bytes(e.bytes or []) for e in logprobs.content).decode() == content
        assert all(len(entry.top_logprobs) == 2 for entry in logprobs.content)
        schema = {
            "type": "object",
            "properties": {"나라": {"type": "string", "maxLength": 8}},
            "required": ["나라"],
            "additionalProperties": False,
        }
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "답", "schema": schema}}
        longer = {**shared, "max_tokens": 60}
        bound = client.chat.completions.create(**longer, response_format=wanted)
        assert set(json.loads(bound.choices[0].message.content or "")) == {"나라"}
