"""The images and the compose file, as far as they can be judged without an engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import dockerfile
from lightkorllm.options import ENV_PREFIX, ServeOptions
from live import Serve

ROOT = dockerfile.FOLDER.parent
COMPOSE = dockerfile.FOLDER / "compose.yaml"
SCRIPTS = str(Path(sys.executable).parent)  # where the development tools are

each_file = pytest.mark.parametrize("name", dockerfile.NAMES)


def _tool(name: str) -> str:
    found = shutil.which(name, path=SCRIPTS)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _compose(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [_tool("docker-compose"), "--file", str(COMPOSE), *words]
    told = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=told, check=False)


def _services(*profiles: str, **environ: str) -> dict[str, Any]:
    flags = [word for profile in profiles for word in ("--profile", profile)]
    done = _compose(*flags, "config", "--format", "json", LIGHTKORLLM_API_KEY="k3y", **environ)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@each_file
def test_hadolint_has_nothing_to_say(name: str) -> None:
    path = str(dockerfile.FOLDER / name)
    done = subprocess.run([_tool("hadolint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@each_file
def test_an_image_runs_as_nobody_special_and_keeps_its_files_on_volumes(name: str) -> None:
    assert dockerfile.rests(name, "USER") == ("1000",)
    (text,) = dockerfile.rests(name, "VOLUME")
    volumes = json.loads(text)
    assert volumes == ["/models", "/cache"]
    environment = dockerfile.environment(name)
    for place in ("HF_HOME", "XDG_CACHE_HOME"):
        assert environment[place].startswith("/cache")
    assert dockerfile.rests(name, "ENTRYPOINT") == ('["lightkorllm"]',)  # so that signals arrive


@each_file
def test_what_an_image_copies_is_there_and_let_through(name: str) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    copied = [rest.split()[:-1] for rest in dockerfile.rests(name, "COPY") if "--from" not in rest]
    sources = {source for sources in copied for source in sources}
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)


def test_every_variable_of_ours_is_an_option() -> None:
    known = {ENV_PREFIX + field.name.upper() for field in fields(ServeOptions)}
    told = {name for file in dockerfile.NAMES for name in dockerfile.environment(file)}
    for service in _services("cpu", "cuda").values():
        told |= set(service["environment"])
    ours = {name for name in told if name.startswith(ENV_PREFIX)}
    assert ours
    assert ours <= known


@each_file
def test_the_health_check_sees_a_server_and_its_absence(name: str, serve: Serve) -> None:
    command = [sys.executable, *dockerfile.health_check(name)[1:]]
    for port, healthy in ((serve().port, True), (9, False)):
        environ = {**os.environ, "LIGHTKORLLM_PORT": str(port), "no_proxy": "127.0.0.1"}
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        assert (done.returncode == 0) is healthy


def test_compose_starts_nothing_without_a_key() -> None:
    done = _compose("--profile", "cpu", "config")
    assert done.returncode
    assert "LIGHTKORLLM_API_KEY" in done.stderr


@pytest.mark.parametrize(
    ("profile", "service", "file"),
    [
        ("cpu", "lightkorllm", "docker/Dockerfile"),
        ("cuda", "lightkorllm-cuda", "docker/Dockerfile.cuda"),
    ],
)
def test_a_profile_is_one_server_on_this_computer_only(
    profile: str, service: str, file: str
) -> None:
    services = _services(profile)
    assert set(services) == {service}
    server = services[service]
    assert server["build"]["dockerfile"] == file
    assert Path(server["build"]["context"]) == ROOT
    assert [port["host_ip"] for port in server["ports"]] == ["127.0.0.1"]
    assert ("deploy" in server) is (profile == "cuda")
    opened = _services(profile, PUBLISH="0.0.0.0:80", MODEL="a.gguf", MODELS="/data")[service]
    assert [port["published"] for port in opened["ports"]] == ["80"]
    assert opened["environment"]["LIGHTKORLLM_QUANTIZED_MODEL_DIR"] == "a.gguf"
    assert "/data" in [volume["source"] for volume in opened["volumes"]]


def test_monitoring_reads_the_server_and_shows_our_dashboard() -> None:
    services = _services("cpu", "monitoring")
    assert set(services) == {"lightkorllm", "prometheus", "grafana"}
    binds = [
        Path(volume["source"])
        for service in services.values()
        for volume in service["volumes"]
        if volume["type"] == "bind"
    ]
    assert dockerfile.FOLDER / "grafana" / "lightkorllm.json" in binds
    assert all(bind.exists() for bind in binds)
    (alias,) = services["lightkorllm"]["networks"]["default"]["aliases"]
    scraped = (dockerfile.FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    assert f'"{alias}:5989"' in scraped
    (secret,) = services["prometheus"]["secrets"]
    assert f"credentials_file: {secret['target']}" in scraped
