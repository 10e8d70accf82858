"""The quantised folder behind the real server: on both engines, through the openai client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from lightkorllm import repacking
from process import Process

pytestmark = pytest.mark.chain

QUESTION = "What is the capital of France? Answer with one word."


@pytest.fixture(scope="module", params=["auto", "transformers", "gguf"])
def served(
    request: pytest.FixtureRequest, smol_gptq: Path, chain: Path
) -> Iterator[tuple[str, openai.OpenAI]]:
    """The server over the folder as it chooses by itself, on transformers, and over the export."""
    way = str(request.param)
    cache = str(chain / "cache")
    if way == "gguf":
        file = chain / "exported.gguf"
        repacking.to_gguf(smol_gptq, file, overwrite=True)
        process = Process("--model", str(file), XDG_CACHE_HOME=cache)
    else:
        process = Process("--model", str(smol_gptq), "--engine", way, XDG_CACHE_HOME=cache)
    process.wait_until_ready(within=240)
    yield way, openai.OpenAI(base_url=f"http://127.0.0.1:{process.port}/v1", api_key="x")
    assert process.end() == 0


def _ask(client: openai.OpenAI, question: str) -> str:
    answer = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=48,
    )
    return answer.choices[0].message.content or ""


def test_it_answers_sensibly_on_every_way(served: tuple[str, openai.OpenAI]) -> None:
    assert "Paris" in _ask(served[1], QUESTION)


def test_it_streams_what_it_says_whole(served: tuple[str, openai.OpenAI]) -> None:
    _, client = served
    stream = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=48,
        stream=True,
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == _ask(client, QUESTION)
