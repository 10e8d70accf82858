"""The API's description is true: valid, complete, and what a client made from it does works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from client import call
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.options import ServeOptions
from lightkorllm.server import openapi
from lightkorllm.server.app import create_app
from lightkorllm.server.loading import ModelHolder
from live import Serve, chat_on

DOCUMENT = openapi.document()
BODIES = [each for each in openapi.OPERATIONS if each.body is not None]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_route_is_described_and_nothing_else() -> None:
    app = create_app(ModelHolder.of(chat_on(EchoEngine())), ServeOptions())
    own = ("/page/", "/docs", "/openapi.json")
    rules = {
        re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.rule != "/" and not rule.rule.startswith(own)
    }
    assert rules == set(DOCUMENT["paths"])


@pytest.mark.parametrize("operation", BODIES, ids=lambda each: each.path)
def test_every_example_is_answered(serve: Serve, operation: openapi.Operation) -> None:
    answer = call(serve(saying("네")).port, operation.path, operation.example)
    assert answer.status == 200
    assert set(operation.answer["required"]) <= set(answer.json)


def test_limits_are_those_that_are_enforced() -> None:
    properties = DOCUMENT["components"]["schemas"]["InferBody"]["properties"]
    number = next(kind for kind in properties["temperature"]["anyOf"] if "minimum" in kind)
    assert (number["minimum"], number["maximum"]) == (0, 2)


def test_the_reference_shows_every_route_and_field_and_loads_nothing_from_outside(
    serve: Serve,
) -> None:
    port = serve(saying("네"), api_key=("k",)).port
    answer = call(port, "/docs")
    assert answer.status == 200
    page = answer.body.decode()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page) == []
    for path in DOCUMENT["paths"]:
        assert path in page
    for operation in BODIES:
        assert operation.body
        for name in operation.body.model_fields:
            assert f"<code>{name}</code>" in page or name.endswith("_")
    assert call(port, "/docs/style.css").status == 200
    assert call(port, "/openapi.json").json == DOCUMENT


def test_schemathesis_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    assert program
    port = serve(engine=EchoEngine(saying("네"), slots=4)).port
    checks: list[Any] = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
    done = subprocess.run(
        [
            program,
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            "--max-examples",
            "60",
            "--seed",
            "7",
            "--checks",
            ",".join(checks),
            "--phases",
            "examples,coverage,fuzzing",
        ],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
