"""`GET /openapi.json` and `GET /docs`: the API's description, for programs and for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, jsonify
from jinja2 import Environment, StrictUndefined

from lightkorllm.server import openapi, page

ENDPOINTS = frozenset({"docs.document", "docs.reference", "docs.style"})  # none needs a key

_HEADERS = {
    **page.HEADERS,
    "Content-Security-Policy": (  # no script at all
        "default-src 'none'; style-src 'self'; img-src 'self'; "  # the icon
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


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
        return Response(html, content_type="text/html; charset=utf-8", headers=_HEADERS)

    @routes.get("/docs/style.css")
    def style() -> Response:
        return Response(css, content_type="text/css; charset=utf-8", headers=_HEADERS)

    return routes


def _page(template: str, document: dict[str, Any]) -> str:
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["pretty"] = lambda value: json.dumps(value, ensure_ascii=False, indent=2)
    environment.filters["kind"] = _kind
    return environment.from_string(template).render(
        document=document,
        models=lambda reference: _models(document, reference),
        follow=lambda value: _follow(document, value),
    )


def _follow(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` points at; anything else is itself."""
    found = value
    for part in value.get("$ref", "#").split("/")[1:]:
        found = document if found is value else found
        found = found[part]
    return found


def _models(document: dict[str, Any], reference: str) -> dict[str, dict[str, Any]]:
    """A model and all that its fields are made of, by name, the outermost first."""
    found: dict[str, dict[str, Any]] = {}
    waiting = [reference]
    while waiting:
        reference = waiting.pop(0)
        name = reference.rpartition("/")[2]
        if name not in found:
            found[name] = _follow(document, {"$ref": reference})
            waiting += _references(found[name])
    return found


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


_NAMES = {"string": "글", "integer": "정수", "number": "숫자", "boolean": "true/false",
          "object": "객체", "array": "목록", "null": "null"}  # fmt: skip


def _kind(field: dict[str, Any]) -> str:
    """A field's type and limits in a few words."""
    kinds = field.get("anyOf", [field])
    words = [_one_kind(kind) for kind in kinds if kind.get("type") != "null" or len(kinds) == 1]
    return " 또는 ".join(word for word in words if word) or "아무 값"


def _one_kind(kind: dict[str, Any]) -> str:
    if "$ref" in kind:
        return str(kind["$ref"].rpartition("/")[2])
    if "enum" in kind or "const" in kind:
        return ", ".join(f'"{value}"' for value in kind.get("enum", [kind.get("const")]))
    types = kind.get("type", [])
    names = [_NAMES[name] for name in ([types] if isinstance(types, str) else types)]
    return " 또는 ".join(names) + _inside(kind) + _limits(kind)


def _inside(kind: dict[str, Any]) -> str:
    inner = kind.get("items") or kind.get("additionalProperties")
    if not isinstance(inner, dict):
        return ""
    return f"[{_kind(inner)}]"


def _limits(kind: dict[str, Any]) -> str:
    for least, most in (("minimum", "maximum"), ("minItems", "maxItems")):
        if least in kind and most in kind:
            return f" ({kind[least]}~{kind[most]})"
        if least in kind:
            return f" ({kind[least]} 이상)"
    return " (빈 글이 아닌)" if "minLength" in kind else ""
