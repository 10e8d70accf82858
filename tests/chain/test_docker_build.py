"""The build steps of the CPU image, run by a plain shell in a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dockerfile
from client import call
from process import Process

pytestmark = [
    pytest.mark.chain,
    pytest.mark.skipif(os.name == "nt", reason="the image's shell is sh"),
]


def test_the_steps_of_the_cpu_image_give_a_healthy_server(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    scripts = tmp_path / "venv" / "bin"
    _run_steps(tmp_path, scripts)
    environ = {
        name: value.replace("/cache", str(tmp_path / "cache"))
        for name, value in dockerfile.environment("Dockerfile").items()
    }
    server = Process(
        command=[str(scripts / "lightkorllm"), "serve"],
        **environ,
        LIGHTKORLLM_API_KEY="k3y",
        PYTHONPATH="",
    )
    try:
        server.wait_until_ready(within=180)
        check = [str(scripts / "python"), *dockerfile.health_check("Dockerfile")[1:]]
        port = {"LIGHTKORLLM_PORT": str(server.port), "no_proxy": "127.0.0.1"}
        subprocess.run(check, env={**os.environ, **port}, check=True)
        body = {"input": "안녕?", "max_new_token": 8}
        headers = {"Authorization": "Bearer k3y"}
        assert call(server.port, "/inferweb", body, headers=headers, timeout=120).status == 200
        assert list((tmp_path / "cache").rglob("*.gguf"))
        assert server.end() == 0
    finally:
        server.kill()


def _run_steps(place: Path, scripts: Path) -> None:
    """COPY and pip's RUN lines, with the image's folders below `place`."""
    build = place / "build"
    build.mkdir()
    for step in dockerfile.read("Dockerfile"):
        if step.word == "COPY" and "--from" not in step.rest:
            _copy(step.rest.split()[:-1], build)
        elif step.word == "RUN" and step.rest.startswith("pip "):
            command = step.rest.replace("/wheels", str(place / "wheels"))
            environ = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"}
            subprocess.run(["sh", "-c", command], cwd=build, env=environ, check=True)


def _copy(sources: list[str], target: Path) -> None:
    for source in sources:
        path = dockerfile.FOLDER.parent / source
        if path.is_dir():
            left = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, target / source, ignore=left)
        else:
            shutil.copy(path, target)
