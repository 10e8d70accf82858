"""Progress of long jobs on a terminal: a bar where there is one, else a line now and then."""

from __future__ import annotations

import shutil
import sys
import time
import unicodedata
from collections.abc import Generator, Mapping
from typing import Protocol, TypeVar

_EVERY = 15.0  # seconds between two lines where no bar can be drawn


class Step(Protocol):
    """How far a job is; `left` is a guess in seconds."""

    @property
    def phase(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def left(self) -> float | None: ...
    @property
    def note(self) -> str: ...


StepT = TypeVar("StepT", bound=Step)
ResultT = TypeVar("ResultT")


def follow(job: Generator[StepT, None, ResultT], phases: Mapping[str, str]) -> ResultT:
    """Run a job to its end, showing its steps on stderr; its result."""
    drawn, last = False, -_EVERY
    terminal = sys.stderr.isatty()
    try:
        while True:
            step = next(job)
            now = time.monotonic()
            if terminal:
                columns = shutil.get_terminal_size().columns - 1
                sys.stderr.write("\r" + _fit(_line(step, phases, bar=True), columns))
                drawn = True
            elif now - last >= _EVERY or step.done in (0, step.total):
                sys.stderr.write(_line(step, phases, bar=False) + "\n")
                last = now
            sys.stderr.flush()
    except StopIteration as end:
        result: ResultT = end.value
        return result
    finally:
        job.close()
        if drawn:
            sys.stderr.write("\n")


def _line(step: Step, phases: Mapping[str, str], *, bar: bool) -> str:
    share = step.done / step.total if step.total else 0.0
    drawn = f" {'█' * round(20 * share):░<20}" if bar else ""
    left = "" if step.left is None else f", 남은 시간 {_time(step.left)}"
    note = f", {step.note}" if step.note else ""
    return (
        f"{phases.get(step.phase, step.phase)}{drawn} {step.done}/{step.total}"
        f" · {_time(step.seconds)} 지남{left}{note}"
    )


def _fit(line: str, columns: int) -> str:
    """A line of just so many columns, cut or filled up: one that wraps is never drawn over."""
    taken = 0
    for at, letter in enumerate(line):
        width = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if taken + width > columns:
            return line[:at] + " " * (columns - taken)
        taken += width
    return line + " " * (columns - taken)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}시간 {minutes}분"
    return f"{minutes}분 {rest}초" if minutes else f"{rest}초"
