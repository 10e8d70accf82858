"""How far a long job is, told to whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """`done` of `total` in a phase of a job, whose names are the job's own.

    `seconds` have passed in this run; `left` is a guess in seconds, None where there is none yet.
    """

    phase: str
    done: int
    total: int
    seconds: float
    left: float | None
    note: str = ""
