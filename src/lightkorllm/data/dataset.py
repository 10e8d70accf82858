"""What a data set is once it is read: items in order, and the rows that could not be used."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any

from lightkorllm.conversation import Conversation

_FAULTS_TOLD = 20
_REASONS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Document:
    """Plain text without roles, to learn from as a whole. NFC, as in `Turn`."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))


Item = Conversation | Document


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that could not be used. Rows count from 1; a table's heading is not a row.

    `file` is set where the data set is a folder.
    """

    row: int
    reason: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file} {self.row:,}행: {self.reason}".lstrip()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set. `format` and `encoding` name all there were, where a folder mixes them.

    `encoding` is empty where the container has its own (Parquet, Hugging Face). `rows` are the
    numbers of the rows that the items stand in, `files` of a folder the files' names, each with
    how many items it has; empty where that is not known.
    """

    items: tuple[Item, ...]
    format: str
    faults: tuple[Fault, ...] = ()
    source: str = ""
    encoding: str = ""
    rows: tuple[int, ...] = ()
    files: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        object.__setattr__(self, "faults", tuple(self.faults))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the items in their order, whatever file and encoding they came in.

        Worked out anew each time it is asked for.
        """
        digest = hashlib.sha256()
        for item in self.items:
            line = json.dumps(_canonical(item), ensure_ascii=False, separators=(",", ":"))
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def place(self, item: int) -> str:
        """Where an item stands, for a person: its row, in a folder with its file."""
        if not self.rows:
            return f"{item + 1:,}번째"
        before = 0
        for name, count in self.files:
            before += count
            if item < before:
                return f"{name} {self.rows[item]:,}행"
        return f"{self.rows[item]:,}행"

    @property
    def repeats(self) -> tuple[tuple[int, int], ...]:
        """Each item that is equal to an earlier one, with the first of those."""
        first: dict[Item, int] = {}
        places = ((at, first.setdefault(item, at)) for at, item in enumerate(self.items))
        return tuple((at, earlier) for at, earlier in places if at != earlier)

    @property
    def duplicates(self) -> int:
        """How many items are equal to an earlier one; they stay in."""
        return len(self.items) - len(set(self.items))

    @property
    def fault_report(self) -> tuple[str, ...]:
        """Lines for a person: the first twenty faults, then how many more there are of which."""
        told = tuple(map(str, self.faults[:_FAULTS_TOLD]))
        untold = Counter(fault.reason for fault in self.faults[_FAULTS_TOLD:])
        if not untold:
            return told
        reasons = [f"{reason} ({n:,}행)" for reason, n in untold.most_common(_REASONS_TOLD)]
        etc = " …" if len(untold) > _REASONS_TOLD else ""
        return (*told, f"그 밖에 {untold.total():,}행: {', '.join(reasons)}{etc}")


def _canonical(item: Item) -> list[Any]:
    if isinstance(item, Document):
        return ["document", item.text]
    return ["conversation", item.system, [[turn.role, turn.text] for turn in item.turns]]
