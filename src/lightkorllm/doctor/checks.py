"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "bad"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, what was found, and the command or the step that mends it.

    `missing` is what one can do without, `bad` what is there and does not work. Serving is
    impossible where a `needed` one is not `ok`, or no engine is.
    """

    name: str
    state: State
    found: str
    mend: str = ""
    needed: bool = False
    is_engine: bool = False
