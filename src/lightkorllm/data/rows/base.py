"""What every container is read into: rows, numbered as the user counts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

IsRow = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, numbered from 1. `cells` maps column names to values, or is what stood there
    instead; `problem` says why the container cannot vouch for them.
    """

    number: int
    cells: Any
    problem: str = ""
