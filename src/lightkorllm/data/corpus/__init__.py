"""Texts that ship with the package, written for it and dedicated to the public domain (CC0).

One file one register, in two folders that share no passage: `calibration` and `held_out`.
`english` is the only register that isn't Korean.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from lightkorllm.conversation import Conversation
from lightkorllm.data.dataset import Document, Item

Part = Literal["calibration", "held_out"]
Language = Literal["ko", "en"]

_FOLDER = Path(__file__).parent


def registers(part: Part, *, language: Language) -> dict[str, tuple[Item, ...]]:
    """The passages of one part in one language, by register."""
    return {
        file.stem: tuple(_item(line) for line in file.read_text(encoding="utf-8").splitlines())
        for file in sorted((_FOLDER / part).glob("*.jsonl"))
        if (file.stem == "english") == (language == "en")
    }


def passages(part: Part, *, language: Language) -> tuple[Item, ...]:
    """The same in one row, register after register."""
    return tuple(item for items in registers(part, language=language).values() for item in items)


def text(part: Part, *, language: Language) -> str:
    """The same as one plain text, a passage from each register in turn, to measure models on."""
    columns = [list(items) for items in registers(part, language=language).values()]
    turns = range(max(len(column) for column in columns))
    return "\n\n".join(_plain(column[at]) for at in turns for column in columns if at < len(column))


def _item(line: str) -> Item:
    row = json.loads(line)
    if "text" in row:
        return Document(row["text"])
    conversation = Conversation()
    for message in row["messages"]:
        if message["role"] == "system":
            conversation = Conversation(message["content"], conversation.turns)
        else:
            conversation = conversation.add(message["role"], message["content"])
    return conversation


def _plain(item: Item) -> str:
    if isinstance(item, Document):
        return item.text
    return "\n".join(text for text in (item.system, *(turn.text for turn in item.turns)) if text)
