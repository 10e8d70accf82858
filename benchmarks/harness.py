"""What all benchmarks share: rows, the machine they ran on, the table, and the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing: our figure beside the peer's.

    `ratio` is ours / peer. A row without a `goal` only informs, and its `met` is None.
    """

    name: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None

    @classmethod
    def of(cls, name: str, ours: float, peer: float) -> Row:
        """A row that only informs."""
        return cls(name, ours, peer, ours / peer)

    @classmethod
    def at_least(cls, name: str, ours: float, peer: float, *, ratio: float) -> Row:
        """A row whose goal is a share of the peer's figure."""
        return cls(name, ours, peer, ours / peer, f"ratio >= {ratio:g}", ours / peer >= ratio)

    @classmethod
    def between(cls, name: str, ours: float, peer: float, *, low: float, high: float) -> Row:
        """A row whose goal is to lie close to the peer's figure."""
        goal = f"{low:g} <= ratio <= {high:g}"
        return cls(name, ours, peer, ours / peer, goal, low <= ours / peer <= high)

    @classmethod
    def adds_less(cls, name: str, ours: float, peer: float, *, limit: float, unit: str) -> Row:
        """A row whose goal is how much our figure may lie above the peer's."""
        goal = f"ours - peer < {limit:g} {unit}"
        return cls(name, ours, peer, ours / peer, goal, ours - peer < limit)

    @classmethod
    def below(cls, name: str, ours: float, *, limit: float, unit: str) -> Row:
        """A row whose goal is a limit of its own; there is no peer."""
        return cls(name, ours, goal=f"< {limit:g} {unit}", met=ours < limit)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the figures come from. `load` is the one-minute load average when the run began."""

    cpu: str
    cores: int
    memory_gib: float
    system: str
    python: str
    lightkorllm: str
    xllamacpp: str
    load: float | None

    @classmethod
    def here(cls) -> Machine:
        return cls(
            cpu=_cpu(),
            cores=os.cpu_count() or 1,
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            system=platform.platform(),
            python=platform.python_version(),
            lightkorllm=_version("lightkorllm"),
            xllamacpp=_version("xllamacpp"),
            load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        )

    def __str__(self) -> str:
        load = "" if self.load is None else f", load {self.load}"
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB{load}\n"
            f"{self.system}, Python {self.python}, "
            f"lightkorllm {self.lightkorllm}, xllamacpp {self.xllamacpp}"
        )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def arguments(description: str) -> argparse.ArgumentParser:
    """A command line with what every benchmark understands: `--quick` and `--json FILE`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, at most a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and rows there")
    return parser


def report(machine: Machine, rows: Sequence[Row], *, json_file: Path | None) -> None:
    """Print the table and, where asked, write `{"machine": …, "rows": […]}`."""
    print(table(rows))
    if json_file is None:
        return
    result = {"machine": asdict(machine), "rows": [asdict(_rounded(row)) for row in rows]}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, indent=2) + "\n"
    json_file.write_text(text, encoding="utf-8")


def table(rows: Iterable[Row]) -> str:
    """The rows with their columns in line; Hangul counts as two columns wide."""
    met = {None: "", True: "yes", False: "NO"}
    cells = [("name", "ours", "peer", "ratio", "goal", "met")]
    cells += [
        (row.name, _number(row.ours), _number(row.peer), _number(row.ratio), row.goal or "", met[m])
        for row in rows
        for m in (row.met,)
    ]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_line(line, widths) for line in cells)


def _line(line: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for number, (cell, width) in enumerate(zip(line, widths, strict=True)):
        space = " " * (width - _width(cell))
        padded.append(space + cell if number in (1, 2, 3) else cell + space)
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _rounded(row: Row) -> Row:
    peer, ratio = (None if value is None else round(value, 4) for value in (row.peer, row.ratio))
    return Row(row.name, round(row.ours, 4), peer, ratio, row.goal, row.met)
