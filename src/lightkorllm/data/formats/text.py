"""Plain text, one document in a row: nobody speaks, and all of it is learned from."""

from __future__ import annotations

from dataclasses import dataclass

from lightkorllm.data.dataset import Document
from lightkorllm.data.formats.base import Cells, first, required

_COLUMNS = ("text", "document", "본문", "글")


@dataclass(frozen=True, slots=True)
class _Text:
    name: str = "text"
    rank: int = 10

    def matches(self, cells: Cells) -> bool:
        return bool(first(cells, _COLUMNS))

    def read(self, cells: Cells) -> Document:
        return Document(required(cells, _COLUMNS))


FORMAT = _Text()
