"""`GET /openapi.json` and `GET /docs`: the API's description, for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify
from jinja2 import Environment

from lightkorllm.server import openapi
from lightkorllm.server.page import HEADERS

ENDPOINTS = frozenset({"docs.document", "docs.reference", "docs.style"})  # none needs a key


def blueprint() -> Blueprint:
    """The routes; document and page are made once."""
    routes = Blueprint("docs", __name__)
    made = openapi.document()
    folder = Path(__file__).parent
    html = _page((folder / "reference.html.jinja").read_text(encoding="utf-8"), made)
    css = (folder / "reference.css").read_text(encoding="utf-8")

    @routes.get("/openapi.json")
    def document() -> Response:
        return jsonify(made)

    @routes.get("/docs")
    def reference() -> Response:
        return Response(html, content_type="text/html; charset=utf-8", headers=HEADERS)

    @routes.get("/docs/style.css")
    def style() -> Response:
        return Response(css, content_type="text/css; charset=utf-8", headers=HEADERS)

    return routes


def _page(template: str, document: dict[str, Any]) -> str:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["pretty"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    environment.filters["compact"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["kind"] = _kind
    return environment.from_string(template).render(document=document, schema=_schema)


def _schema(document: dict[str, Any], reference: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]
    return found


def _kind(field: dict[str, Any]) -> str:
    """A field's type and limits in a few words."""
    kinds = field.get("anyOf", [field])
    words = [_one_kind(kind) for kind in kinds if kind.get("type") != "null"]
    return " 또는 ".join(word for word in words if word) or "아무 값"


_NAMES = {"string": "글", "integer": "정수", "number": "숫자", "boolean": "true/false",
          "object": "객체", "array": "목록"}  # fmt: skip


def _one_kind(kind: dict[str, Any]) -> str:
    name = _NAMES.get(kind.get("type", ""), "객체" if "$ref" in kind else "")
    if "enum" in kind:
        name = ", ".join(map(str, kind["enum"]))
    if "minimum" in kind and "maximum" in kind:
        return f"{name} ({kind['minimum']}~{kind['maximum']})"
    return f"{name} ({kind['minimum']} 이상)" if "minimum" in kind else name
