"""No body, however odd, makes a server error or a hang. FUZZ_EXAMPLES=20000 for the long run."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from typing import Any

from flask.testing import FlaskClient
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.options import ServeOptions
from lightkorllm.server import openai_wire, openapi, wire
from lightkorllm.server.app import create_app
from lightkorllm.server.loading import ModelHolder
from live import chat_on

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
PATIENCE = 20.0  # seconds for one answer, which takes milliseconds

ODD = (
    st.sampled_from([-1, 0, 1, 2**31, 2**32 - 1, 2**63, 10**400, 1e308, -0.0, 1e-320])
    | st.sampled_from(["\0", "\ud800", "1" * 5000, "١", "가" * 3000, "data: [DONE]\n\n"])
    | st.integers(1, 2500).map(lambda depth: _nested(depth))
)
NUMERALS = (
    st.integers(-1, 9999).map(str)
    | st.text("0123456789١²-_ ", max_size=12)
    | st.sampled_from(["9" * length for length in (9, 10, 11, 400, 4301, 6000)])
)
WORDS = st.text(max_size=8) | NUMERALS | st.sampled_from(["\0", "\ud800"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ROUTES: dict[str, type[wire.Body]] = {
    each.path: each.body for each in openapi.OPERATIONS if each.body is not None
}
GOOD: dict[str, Any] = {each.path: each.example for each in openapi.OPERATIONS if each.body}
KEYS = st.sampled_from(["type", "role", "content", "text", "str", "count", "history", "schema"])
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "role": st.sampled_from(["user", "assistant", "system", "tool", "친구"]),
    "type": st.sampled_from(["### 사용자", "AI", "user", "text", "image_url", "json_schema"]),
    "stream": st.booleans(),
    "stream_options": st.fixed_dictionaries({"include_usage": st.booleans()}),
    "n": st.integers(-1, 20),
    "stop": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3),
    "prompt": st.text() | st.lists(st.text(max_size=5), max_size=18),
    "model": st.sampled_from(["echo", "말투", "gpt-9", ""]),
    "adapter": st.sampled_from(["말투", "없는 것"]),
    "logprobs": st.booleans() | st.integers(-1, 21),
    "logit_bias": st.dictionaries(NUMERALS, st.floats(-110, 110), min_size=1, max_size=3),
    "temperature": st.floats(-0.5, 2.5),
    "seed": st.integers(),
}


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with one place in it, near or deep, put in another way."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: _changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(KEYS | WORDS): draw(JSON)}
    if isinstance(value, list) and draw(st.booleans()):
        return value * draw(st.integers(0, 3))
    return draw(JSON)


def _right(name: str, field: dict[str, Any]) -> st.SearchStrategy[Any] | None:
    """Values that a field takes, by its description; None where that doesn't say enough."""
    kind = field.get("anyOf", [field])[0]
    if name == "top_logprobs":
        return None  # only together with another
    if name in ("n", "num_beams"):
        return st.integers(1, 2)
    match kind.get("type"):
        case "integer" if "minimum" in kind:
            return st.integers(kind["minimum"], kind.get("maximum", 10**30))
        case "number" if "minimum" in kind:
            return st.floats(kind["minimum"], kind["maximum"])
    return st.text(min_size=1) | st.lists(st.text(min_size=1)) if name == "stop" else None


def _right_fields(kind: type[wire.Body]) -> st.SearchStrategy[dict[str, Any]]:
    fields = openapi.document()["components"]["schemas"][kind.__name__]["properties"]
    found = {name: _right(name, field) for name, field in fields.items()}
    optional = {name: each for name, each in found.items() if each is not None}
    return st.fixed_dictionaries({"stream": st.booleans()}, optional=optional)


RIGHT = {route: _right_fields(kind) for route, kind in ROUTES.items()}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route and a body: junk, a good example broken as text, one with values changed, or good."""
    route = draw(st.sampled_from(sorted(ROUTES)))
    match draw(st.integers(0, 9)):
        case 0:
            return route, draw(st.binary(max_size=40))
        case 1:
            return route, _broken(draw, json.dumps(GOOD[route], ensure_ascii=False).encode())
        case 2 | 3:
            return route, _bytes(_changed(draw, GOOD[route]))
        case 4 | 5 | 6:
            return route, _bytes(GOOD[route] | draw(RIGHT[route]))
        case 7 | 8:  # one field only: the first wrong one would hide the others
            name = draw(st.sampled_from(sorted(KNOWN.keys() & ROUTES[route].model_fields.keys())))
            return route, _bytes({**GOOD[route], name: draw(KNOWN[name])})
    return route, _bytes(_with_several(draw, route))


def _with_several(draw: st.DrawFn, route: str) -> Any:
    body = dict(GOOD[route])
    names = sorted(ROUTES[route].model_fields)
    for name in draw(st.lists(st.sampled_from([*names, "오타"]), max_size=4)):
        known = KNOWN.get(name)
        body[name] = draw(JSON if known is None or draw(st.integers(0, 3)) == 0 else known)
    if "messages" in body and draw(st.booleans()):
        message = st.fixed_dictionaries({"role": KNOWN["role"], "content": st.text() | JSON})
        body["messages"] = draw(st.lists(message | JSON, max_size=4))
    return body


def _bytes(body: Any) -> bytes:
    try:
        return json.dumps(body).encode()
    except RecursionError:  # what is too deep to write is no body
        return b"[" * 5000


def _broken(draw: st.DrawFn, data: bytes) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = min(len(data), start + draw(st.integers(0, 8)))
    return data[:start] + draw(st.binary(max_size=4)) + data[end:]


def _client() -> FlaskClient:
    engine = EchoEngine(saying("네", "."), adapters=("말투",))
    return create_app(ModelHolder.of(chat_on(engine)), ServeOptions()).test_client()


CLIENT = _client()


def _post(route: str, data: bytes) -> tuple[int, bytes, str]:
    """Status, whole body and content type. Fails where no answer ends in time."""
    answers: list[tuple[int, bytes, str]] = []

    def post() -> None:
        with CLIENT.post(route, data=data) as answer:
            answers.append((answer.status_code, answer.data, answer.content_type))

    thread = threading.Thread(target=post, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert answers, (route, data, "no answer")
    return answers[0]


def _check(status: int, body: bytes, kind: str) -> None:
    assert status in (200, 400, 404, 413), body
    if status != 200:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    elif kind.startswith("application/json"):
        assert isinstance(json.loads(body), dict)
    else:
        assert kind == "text/event-stream; charset=utf-8"
        assert b'"error": {' not in body  # told in the middle of a stream


def test_no_body_makes_a_server_error_or_a_hang() -> None:
    seen: Counter[tuple[str, int, str]] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sent=bodies())
    def try_them(sent: tuple[str, bytes]) -> None:
        status, body, kind = _post(*sent)
        seen[sent[0], status, kind.partition(";")[0]] += 1
        event(f"{sent[0]} {status} {kind.partition(';')[0]}")  # for --hypothesis-show-statistics
        _check(status, body, kind)

    try_them()
    for route in ROUTES:  # not only refusals were looked at
        assert seen[route, 200, "application/json"]
        assert seen[route, 200, "text/event-stream"]
        assert seen[route, 400, "application/json"]


def test_the_bodies_reach_every_route() -> None:
    assert set(ROUTES.values()) == {
        wire.InferBody,
        wire.ChatBody,
        openai_wire.ChatCompletionBody,
        openai_wire.CompletionBody,
    }
