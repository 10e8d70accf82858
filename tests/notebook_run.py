"""A notebook of `script/colab` in a kernel of its own, its parameters set as a user sets them."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[1] / "script" / "colab"
NAMES = ("LightKorLLM_auto_gptq", "LightKorLLM_peft", "LightKorLLM_launcher")


def read(name: str) -> Any:
    """The notebook of that name."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]


def parameters_cell(book: Any) -> Any:
    """The one cell that is tagged `parameters`."""
    (cell,) = (each for each in book.cells if "parameters" in each.metadata.get("tags", ()))
    return cell


def parameters(book: Any) -> dict[str, Any]:
    """The parameters and their defaults."""
    assigned = ast.parse(parameters_cell(book).source).body
    told = {}
    for line in assigned:
        assert isinstance(line, ast.Assign)
        (name,) = line.targets
        assert isinstance(name, ast.Name)
        told[name.id] = ast.literal_eval(line.value)
    return told


@dataclass(frozen=True)
class Shown:
    """What the cells showed, by their ids: their text, and the kinds of what isn't text."""

    text: dict[str, str]
    kinds: dict[str, set[str]]


def execute(name: str, folder: Path, **values: Any) -> Shown:
    """Run all cells in `folder`; raises `CellExecutionError` where one stops."""
    book = read(name)
    _set(book, values)
    _run(book, folder)
    return shown(book)


def execute_until_it_stops(name: str, folder: Path, **values: Any) -> Shown:
    """Run the cells of a notebook that is to stop at one of them; what that one showed is told."""
    book = read(name)
    _set(book, values)
    with pytest.raises(CellExecutionError):
        _run(book, folder)
    return shown(book)


def _set(book: Any, values: dict[str, Any]) -> None:
    defaults = parameters(book)
    assert values.keys() <= defaults.keys()
    lines = (f"{key} = {value!r}" for key, value in {**defaults, **values}.items())
    parameters_cell(book).source = "\n".join(lines)


def _run(book: Any, folder: Path) -> None:
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(book, timeout=600, kernel_name="python3", resources=place)
    client.execute(env=_environ(folder))


def shown(book: Any) -> Shown:
    """The outputs of an executed notebook."""
    text: dict[str, str] = {}
    kinds: dict[str, set[str]] = {}
    for cell in book.cells:
        outputs = cell.get("outputs", [])
        text[cell.id] = "".join(_text(each) for each in outputs)
        kinds[cell.id] = {kind for each in outputs for kind in each.get("data", {})}
    return Shown(text, kinds)


def _text(output: Any) -> str:
    data = output.get("data", {})
    said = output.get("text") or output.get("evalue")
    return str(said or data.get("text/markdown") or data.get("text/plain") or "")


def _environ(folder: Path) -> dict[str, str]:
    """Our own `lightkorllm` first, a cache of its own, one thread, and no hub."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
