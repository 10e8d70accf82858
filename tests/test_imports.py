"""Rooms look down, never up; and importing costs little."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "lightkorllm"

FLOORS = [  # from the ground up; a module imports only from lower floors or its own room
    {"errors", "progress", "text", "processes"},
    {"conversation", "generation"},
    {"options", "record", "gguf_header", "embedded", "checkpoint", "catalog"},
    {"fingerprint", "lora", "shape"},
    {"prompts", "pretrained", "hardware", "memory", "plotting", "hub", "vocabulary", "cards"},
    {"repacking", "data"},
    {"engines", "evaluation"},
    {"chat", "merging", "quantization", "finetuning"},
    {"server", "terminal", "fitting", "doctor"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightkorllm"):
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("lightkorllm.")}
    return found


FILES = sorted(file for file in ROOT.rglob("*.py") if file != ROOT / "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_floors_or_its_own_room(file: Path) -> None:
    here = file.relative_to(ROOT).parts[0].removesuffix(".py")
    for module in _imports(file):
        there = _room(module)
        if there in ("", "__version__", here):
            continue
        assert FLOOR_OF[there] < FLOOR_OF[here], f"{here} imports {module}"


def test_every_room_has_its_floor() -> None:
    rooms = {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in FILES}
    assert rooms == set(FLOOR_OF)


def _modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    return {name.split(".")[0] for name in output.split()}


def test_importing_the_package_loads_only_the_standard_library() -> None:
    loaded = _modules_after("import lightkorllm")
    guests = {name for name in loaded - sys.stdlib_module_names if not name.startswith("_")}
    assert guests <= {"lightkorllm", "sitecustomize", "usercustomize"}


def test_help_loads_no_heavy_library() -> None:
    loaded = _modules_after("from lightkorllm import cli; cli.main(['--help'])")
    assert not loaded & {"flask", "pydantic", "tyro", "xllamacpp", "waitress", "jinja2"}


def test_the_words_that_all_rooms_share_are_light() -> None:
    loaded = _modules_after("import lightkorllm.chat")
    assert not loaded & {"flask", "pydantic", "xllamacpp", "waitress"}
