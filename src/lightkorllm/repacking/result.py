"""What a conversion made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Repacked:
    """A GGUF file. `changed` is the largest change of a quantised weight; 0.0 is none at all.

    `notes` are Korean sentences on what the reader of the file should know.
    """

    path: Path
    changed: float
    notes: tuple[str, ...] = ()
