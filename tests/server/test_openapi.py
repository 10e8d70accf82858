"""The API's description is true: valid, complete, and what a client made from it does works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from client import Answer, call
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.errors import JobError, LightKorError, NoSuchRoute, SetupError
from lightkorllm.options import ServeOptions
from lightkorllm.server import answers, faults, openai_wire, openapi, wire
from lightkorllm.server.app import create_app
from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.meanings import MEANINGS, meaning
from live import Serve, chat_on

DOCUMENT = openapi.document()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
BODIES = [each for each in openapi.OPERATIONS if each.body is not None]
ANSWERED = [each for each in openapi.OPERATIONS if each.answer is not None]

with_body = pytest.mark.parametrize("operation", BODIES, ids=lambda each: each.path)
with_answer = pytest.mark.parametrize("operation", ANSWERED, ids=lambda each: each.path)


def _faults(value: Any, model: str) -> list[str]:
    """Where `value` is not as a schema of the document says."""
    schema = {"$ref": f"#/components/schemas/{model}", "components": DOCUMENT["components"]}
    return [fault.message for fault in OAS31Validator(schema).iter_errors(value)]


def _unknown(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """The keys of an answer that its schema doesn't describe."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and value is not None:
        schema = SCHEMAS[schema["anyOf"][0]["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            yield from _unknown(item, schema["items"], f"{place}[]")
    if isinstance(value, dict) and "additionalProperties" not in schema:
        for key, item in value.items():
            known = schema["properties"].get(key)
            if known is None:
                yield f"{place}.{key}"
            else:
                yield from _unknown(item, known, f"{place}.{key}")


def _ask(port: int, operation: openapi.Operation, **more: Any) -> Answer:
    path = operation.path.replace("{name}", "echo")
    return call(port, path, {**operation.example, **more} if operation.body else None)


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_route_is_described_and_nothing_else() -> None:
    app = create_app(ModelHolder.of(chat_on(EchoEngine())), ServeOptions())
    own = ("/page/", "/docs", "/openapi.json")  # files of the pages, and the description itself
    routes = {
        (re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule != "/" and not rule.rule.startswith(own)
    }
    described = {(path, method) for path, each in DOCUMENT["paths"].items() for method in each}
    assert routes == described


@with_body
def test_every_example_is_taken_and_fits_its_schema(operation: openapi.Operation) -> None:
    assert operation.body is not None
    wire.check_body(operation.body, operation.example)
    assert _faults(operation.example, operation.body.__name__) == []


@with_answer
def test_examples_of_answers_fit_and_show_every_field(operation: openapi.Operation) -> None:
    assert operation.answer is not None
    example = answers.EXAMPLES[operation.answer]
    assert _faults(example, operation.answer) == []
    assert list(_unknown(example, SCHEMAS[operation.answer])) == []


LOGPROBS: dict[str, dict[str, Any]] = {
    "ChatCompletion": {"logprobs": True, "top_logprobs": 2},
    "Completion": {"logprobs": 2},
}


@with_answer
def test_real_answers_are_as_described(serve: Serve, operation: openapi.Operation) -> None:
    assert operation.answer is not None
    port = serve(saying("네", ".")).port
    for asked in ({}, LOGPROBS.get(operation.answer, {})):
        answer = _ask(port, operation, **asked)
        assert answer.status == 200
        assert _faults(answer.json, operation.answer) == []
        assert list(_unknown(answer.json, SCHEMAS[operation.answer])) == []


def test_every_field_has_a_meaning_and_no_meaning_is_left_over() -> None:
    bodies = {each: SCHEMAS[each] for each in SCHEMAS if each not in answers.SCHEMAS}
    fields = {(model, name) for model, each in bodies.items() for name in each["properties"]}
    assert all(meaning(model, name) for model, name in fields)
    names = {name for _, name in fields} | {f"{model}.{name}" for model, name in fields}
    assert set(MEANINGS) <= names


def _classes(root: type[LightKorError]) -> Iterator[type[LightKorError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _classes(kind)


def test_every_error_that_a_route_can_answer_is_shown_under_its_status() -> None:
    elsewhere = {NoSuchRoute.code, "invalid_request"}  # no route's own, and bad HTTP
    codes = {
        kind.code
        for kind in _classes(LightKorError)
        if kind.__module__ == "lightkorllm.errors" and not issubclass(kind, (SetupError, JobError))
    }
    assert {error.code for error in answers.OCCASIONS} == codes - elsewhere
    assert {faults.status(error) for error in answers.OCCASIONS} == set(answers.REASONS)
    for error in answers.OCCASIONS:
        assert _faults(faults.body(error), "Error") == []


NUMBERS = [
    (operation, name, kind)
    for operation in BODIES
    for name, each in SCHEMAS[operation.body.__name__]["properties"].items()  # type: ignore[union-attr]
    for kind in each.get("anyOf", [each])
    if "minimum" in kind
]


@pytest.mark.parametrize(
    ("operation", "name", "kind"), NUMBERS, ids=[f"{o.path}-{n}" for o, n, _ in NUMBERS]
)
def test_limits_are_those_that_are_enforced(
    serve: Serve, operation: openapi.Operation, name: str, kind: dict[str, Any]
) -> None:
    port = serve(saying("네"), queue=64).port
    also = {"logprobs": True} if name == "top_logprobs" else {}
    step = 1 if kind["type"] == "integer" else 0.001
    least, most = kind["minimum"], kind.get("maximum")
    assert _ask(port, operation, **also, **{name: least}).status == 200
    below = _ask(port, operation, **also, **{name: least - step})
    assert (below.status, below.error["param"]) == (400, name)
    if most is not None:
        assert _ask(port, operation, **also, **{name: most}).status == 200
        above = _ask(port, operation, **also, **{name: most + step})
        assert (above.status, above.error["param"]) == (400, name)


def test_what_has_limits_inside_has_them_in_the_document() -> None:
    limited = {(operation.body, name) for operation, name, _ in NUMBERS}
    for body in (wire.InferBody, wire.ChatBody):
        for name in ("max_new_token", "temperature", "top_k", "seed", "num_beams"):
            assert (body, name) in limited
    assert (openai_wire.CompletionBody, "logprobs") in limited
    assert (openai_wire.ChatCompletionBody, "seed") not in limited  # any integer is taken there


REFUSED: dict[str, list[Any]] = {
    "stop": ["", [""]],
    "messages": [[]],
    "prompt": [[], ["가"] * (openai_wire.MOST_CHOICES + 1)],
    "logit_bias": [{"a": 1}, {"1" * 11: 1}, {"1": 101}, {"1": -101}],
}


@with_body
def test_what_the_schema_refuses_the_server_refuses(
    serve: Serve, operation: openapi.Operation
) -> None:
    assert operation.body is not None
    port = serve(saying("네")).port
    for name in set(REFUSED) & set(operation.body.model_fields):
        for value in REFUSED[name]:
            assert _faults({**operation.example, name: value}, operation.body.__name__)
            answer = _ask(port, operation, **{name: value})
            assert (answer.status, answer.error["param"]) == (400, name)


@pytest.fixture
def page(serve: Serve) -> str:
    """The reference page of a server with keys, opened without one."""
    answer = call(serve(saying("네"), api_key=("k",)).port, "/docs")
    assert answer.status == 200
    return answer.body.decode()


def test_the_reference_shows_every_route_field_and_error(page: str) -> None:
    for path in DOCUMENT["paths"]:
        assert f"</b> {path}</h2>" in page
    for model in SCHEMAS.values():
        for name, field in model["properties"].items():
            assert f"<code>{name}</code>" in page
            assert field.get("description", "") in unescape(page)
    for error in answers.OCCASIONS:
        assert f"<code>{error.code}</code>" in page
        assert error.message in unescape(page)


def test_the_reference_shows_examples_that_can_be_sent(page: str) -> None:
    plain = unescape(page)
    for operation in BODIES:
        (sent,) = re.findall(rf"curl -s \S+{re.escape(operation.path)} -d '([^']*)'", plain)
        assert json.loads(sent) == operation.example
    for name in answers.EXAMPLES:
        assert json.dumps(answers.EXAMPLES[name], ensure_ascii=False, indent=2) in plain


def test_the_reference_loads_nothing_from_outside_and_runs_nothing(page: str, serve: Serve) -> None:
    assert "<script" not in page
    assert "style=" not in page
    assert re.findall(r'(?:src|href|action)="(?!/[^/]|/"|#)[^"]*"', page) == []
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert targets <= set(re.findall(r'id="([^"]*)"', page))
    port = serve(saying("네")).port
    css = call(port, "/docs/style.css")
    assert b"url(" not in css.body
    assert b"@import" not in css.body
    for answer in (call(port, "/docs"), css):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_a_server_sends_is_the_document(serve: Serve) -> None:
    port = serve(saying("네"), api_key=("k",)).port
    assert call(port, "/openapi.json").json == DOCUMENT


NOT_FOR_US = [
    # rules between fields and of the engine (the last message is user, the adapter exists, one
    # of two fields needs the other) are not in the schema: they are 400s that name the field
    "positive_data_acceptance",
]


def test_schemathesis_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program
    port = serve(engine=EchoEngine(saying("네"), slots=4)).port
    done = subprocess.run(
        [
            program,
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            "--max-examples=100",
            "--seed=7",
            f"--exclude-checks={','.join(NOT_FOR_US)}",
            "--phases=examples,coverage,fuzzing",
            "--generation-database=none",
        ],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
