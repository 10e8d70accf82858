"""A server that searches with beams by default: streams still work, their text comes at the end."""

from __future__ import annotations

import pytest

from client import call, deltas, events
from lightkorllm.engines.transformers import TransformersEngine
from live import Serve

QUESTION = {"input": "한국의 수도는 어디인가요?", "max_new_token": 24, "repetition_penalty": 1.0}
CHAT = {"messages": [{"role": "user", "content": "안녕하세요?"}], "max_tokens": 24}


@pytest.mark.case("S12")
def test_a_stream_from_a_server_with_beams_gives_the_same_text_at_its_end(
    serve: Serve, reciting: TransformersEngine
) -> None:
    live = serve(engine=reciting, num_beams=3)
    whole = call(live.port, "/inferweb", QUESTION)
    assert whole.status == 200
    assert "서울" in whole.json["result"]
    stream = call(live.port, "/inferweb", {**QUESTION, "stream": True})
    assert stream.status == 200
    assert "".join(deltas(stream.body)) == whole.json["result"]
    assert events(stream.body)[-1]["result"] == whole.json["result"]
    assert live.idle()


@pytest.mark.case("S12")
def test_openai_clients_stream_from_a_server_with_beams(
    serve: Serve, reciting: TransformersEngine
) -> None:
    live = serve(engine=reciting, num_beams=3)
    stream = call(live.port, "/v1/chat/completions", {**CHAT, "stream": True})
    assert stream.status == 200
    body, done, _ = stream.body.partition(b"data: [DONE]")
    assert done
    parts = [event["choices"][0]["delta"].get("content") or "" for event in events(body)]
    assert "서울" in "".join(parts)


@pytest.mark.case("S12")
def test_a_request_that_itself_asks_for_beams_and_a_stream_is_refused_by_name(
    serve: Serve, reciting: TransformersEngine
) -> None:
    live = serve(engine=reciting)
    answer = call(live.port, "/inferweb", {**QUESTION, "num_beams": 3, "stream": True})
    assert (answer.status, answer.error["param"]) == (400, "num_beams")
