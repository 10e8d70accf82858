"""What works on this machine, what does not, and the command that mends it."""

from __future__ import annotations

from collections.abc import Iterator

from lightkorllm.doctor import engines, machine, packages
from lightkorllm.doctor.checks import Check

__all__ = ["Check", "examine", "serving_works"]


def examine() -> Iterator[Check]:
    """Every check, as it is done: quick ones first, then engines, each tried in a child."""
    yield from machine.checks()
    yield from packages.checks()
    yield from engines.checks()


def serving_works(checks: list[Check]) -> bool:
    """Whether a model can be served here: what serving needs is there, and an engine runs."""
    needed = [check for check in checks if check.needed]
    runs = any(check.is_engine and check.state == "ok" for check in checks)
    return runs and all(check.state == "ok" for check in needed)
