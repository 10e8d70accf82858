"""No body, however odd, makes a server error. FUZZ_EXAMPLES=20000 for the long run."""

from __future__ import annotations

import json
import os
from typing import Any

from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.options import ServeOptions
from lightkorllm.server import openai_wire, openapi, wire
from lightkorllm.server.app import create_app
from lightkorllm.server.loading import ModelHolder
from live import chat_on

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1500"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
ROUTES: dict[str, type[wire.Body]] = {
    each.path: each.body for each in openapi.OPERATIONS if each.body is not None
}
GOOD: dict[str, Any] = {each.path: each.example for each in openapi.OPERATIONS if each.body}
KNOWN = {
    "role": st.sampled_from(["user", "assistant", "system", "tool", "친구"]),
    "type": st.sampled_from(["### 사용자", "AI", "user", "text", "image_url", "json_schema"]),
    "stream": st.booleans(),
    "n": st.integers(-1, 20),
    "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route and a body: junk, random fields, or a good example with something changed."""
    route = draw(st.sampled_from(sorted(ROUTES)))
    if draw(st.integers(0, 9)) == 0:
        return route, draw(st.binary(max_size=40))
    body = dict(GOOD[route])
    names = sorted(ROUTES[route].model_fields)
    for name in draw(st.lists(st.sampled_from([*names, "오타"]), max_size=4)):
        body[name] = draw(KNOWN.get(name, JSON) | JSON)
    if "messages" in body and draw(st.booleans()):
        message = st.fixed_dictionaries({"role": KNOWN["role"], "content": JSON})
        body["messages"] = draw(st.lists(message | JSON, max_size=4))
    return route, json.dumps(body).encode()


def _client() -> FlaskClient:
    engine = EchoEngine(saying("네", "."), adapters=("말투",))
    return create_app(ModelHolder.of(chat_on(engine)), ServeOptions()).test_client()


CLIENT = _client()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=bodies())
def test_no_body_makes_a_server_error(sent: tuple[str, bytes]) -> None:
    route, data = sent
    answer = CLIENT.post(route, data=data)
    assert answer.status_code in (200, 400, 404, 413), (data, answer.text)
    if answer.status_code != 200:
        assert set(answer.get_json()["error"]) == {"message", "type", "param", "code"}
    answer.close()


def test_the_bodies_reach_every_route() -> None:
    assert set(ROUTES.values()) == {
        wire.InferBody,
        wire.ChatBody,
        openai_wire.ChatCompletionBody,
        openai_wire.CompletionBody,
    }
