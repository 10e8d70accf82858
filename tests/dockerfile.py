"""Reads our Dockerfiles: their instructions, one after another."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docker"
NAMES = ("Dockerfile", "Dockerfile.cuda")


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction's word and what follows it, continued lines joined."""

    word: str
    rest: str


def read(name: str) -> tuple[Instruction, ...]:
    """The instructions of `docker/NAME`."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    parts = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return tuple(Instruction(word, rest) for word, rest in parts)


def rests(name: str, word: str) -> tuple[str, ...]:
    """What follows each `word` of a Dockerfile."""
    return tuple(found.rest for found in read(name) if found.word == word)


def environment(name: str) -> dict[str, str]:
    """What its ENV sets."""
    pairs = " ".join(rests(name, "ENV")).split()
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def health_check(name: str) -> list[str]:
    """The command of its health check."""
    (text,) = rests(name, "HEALTHCHECK")
    command: list[str] = json.loads(text.partition("CMD")[2])
    return command
