"""What is released: built without a network, complete, and running outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from client import call
from lightkorllm import __version__
from process import Process

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "lightkorllm"

pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the wheel is installed, without what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    flags = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(folder)]
    subprocess.run([*command, str(_wheel(dist))], check=True)
    return folder


def _wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


def _names(dist: Path) -> set[str]:
    with zipfile.ZipFile(_wheel(dist)) as wheel:
        return set(wheel.namelist())


def _metadata(dist: Path) -> Message:
    with zipfile.ZipFile(_wheel(dist)) as wheel:
        name = f"lightkorllm-{__version__}.dist-info/METADATA"
        return Parser().parsestr(wheel.read(name).decode("utf-8"))


def test_the_wheel_holds_every_file_of_the_package(dist: Path) -> None:
    ours = {
        f"lightkorllm/{path.relative_to(PACKAGE).as_posix()}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = _names(dist)
    assert {name for name in held if name.startswith("lightkorllm/")} == ours


@pytest.mark.parametrize(
    "name",
    [
        "lightkorllm/py.typed",
        "lightkorllm/data/corpus/calibration/news.jsonl",
        "lightkorllm/data/pairs/training/korea.jsonl",
        "lightkorllm/finetuning/adapter_card.md",
        "lightkorllm/quantization/model_card.md",
        "lightkorllm/server/page/index.html",
        "lightkorllm/server/reference/reference.html.jinja",
        "lightkorllm/server/tunnel/keeper.py",
        f"lightkorllm-{__version__}.dist-info/licenses/LICENSE",
        f"lightkorllm-{__version__}.dist-info/licenses/NOTICE",
        f"lightkorllm-{__version__}.dist-info/entry_points.txt",
    ],
)
def test_the_wheel_holds_what_is_no_code_too(name: str, dist: Path) -> None:
    assert name in _names(dist)


def test_the_version_is_that_of_the_package_and_pip_asks_for_nothing_heavy(dist: Path) -> None:
    metadata = _metadata(dist)
    assert metadata["Version"] == __version__
    needed = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert needed
    assert not [text for text in needed if text.startswith(("torch", "transformers"))]


def test_the_sdist_can_be_tested_and_built_again(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {
        *("pyproject.toml", "Makefile", "README.md", "LICENSE", "NOTICE", "CHANGELOG.md"),
        *("src/lightkorllm/__init__.py", "tests/conftest.py", "docker/Dockerfile"),
        *("docs/options.md", "api/main.py", "requirements-cpu.txt"),
    } <= names
    assert not [name for name in names if "__pycache__" in name]
    models = [name for name in names if name.endswith(".gguf")]
    assert models == ["src/lightkorllm/embedded_adapter/adapter.gguf"]


@pytest.mark.skipif(os.name == "nt", reason="scripts are programs there")
def test_the_installed_wheel_serves_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = installed / "bin" / "lightkorllm"
    environ = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    run = {**os.environ, **environ}
    where = [sys.executable, "-c", "import lightkorllm; print(lightkorllm.__file__)"]
    told = subprocess.run(where, cwd=tmp_path, env=run, capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()).is_relative_to(installed)
    version = subprocess.run([str(program), "--version"], env=run, capture_output=True, check=True)
    assert version.stdout.decode().strip() == f"lightkorllm {__version__}"
    server = Process("--model", "echo", command=[str(program), "serve"], **environ)
    try:
        server.wait_until_ready()
        assert call(server.port, "/inferweb", {"input": "안녕?"}).status == 200
        for path in ("/", "/docs", "/openapi.json"):
            assert call(server.port, path).status == 200
        assert server.end() == 0
    finally:
        server.kill()
