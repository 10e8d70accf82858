"""Korean-capable models by short names: `catalog.toml` as nouns. Facts, dated in that file."""

from __future__ import annotations

import difflib
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_FILE = Path(__file__).with_name("catalog.toml")


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `parameters` as its makers round them; `four_bit` is GB of a card that it takes
    in 4 bit with about 2,000 tokens. `gguf` says that ready GGUF files are known to be there,
    `licence` is "" where it has to be read on the model's card.
    """

    name: str
    repository: str
    parameters: float
    context: int
    format: Literal["gptq", "plain"]
    four_bit: float
    prompt_format: str
    advice: str
    licence: str = ""
    gguf: bool = False
    non_commercial: bool = False

    @property
    def as_it_comes(self) -> float:
        """GB of a card for the weights as the repository has them, with as much beside them."""
        return self.four_bit if self.format == "gptq" else self.parameters * 2 / 1024**3 + 1


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All models in the order of the file: the original's own first, then by size."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tuple(Entry(**each) for each in tomllib.loads(_FILE.read_text("utf-8"))["model"])


def find(name: str) -> Entry | None:
    """The model of that name, in whatever case."""
    return next((entry for entry in entries() if entry.name == name.lower()), None)


def nearest(name: str) -> list[str]:
    """Up to three names that may have been meant, best first."""
    asked, names = name.lower(), [entry.name for entry in entries()]
    alike = difflib.get_close_matches(asked, names, n=3, cutoff=0.5)
    holding = [known for known in names if asked in known or known.partition("-")[0] in asked]
    return list(dict.fromkeys([*alike, *holding]))[:3]
