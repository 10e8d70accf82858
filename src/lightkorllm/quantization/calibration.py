"""Calibration texts become rows of token ids, all of one length, the languages in their shares."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightkorllm.data import Document, Item
from lightkorllm.errors import BadRequest
from lightkorllm.prompts.base import PromptFormat


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rows of token ids for one run: `rows` to quantise on, `further` ones only to tune on.

    `wanted` is how many rows were asked for; there may be too little text for them. `skipped`
    conversations could not be written in the model's format. `fingerprint` names the texts.
    """

    rows: tuple[tuple[int, ...], ...]
    wanted: int
    skipped: int
    fingerprint: str
    source: str
    further: tuple[tuple[int, ...], ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(row) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Share:
    """Passages and the number of rows that they are to fill."""

    passages: Sequence[Item]
    rows: int


def rows_of(
    share: Share, tokenizer: Any, prompt_format: PromptFormat, *, length: int, seed: int
) -> tuple[list[tuple[int, ...]], int]:
    """At most `share.rows` rows of `length` tokens, and how many passages could not be rendered.

    Passages are shuffled and written one behind another, each closed by EOS, so that no row is
    mostly padding. A last, shorter row is kept where it is the only one.
    """
    shuffled = list(share.passages)
    random.Random(seed).shuffle(shuffled)
    start = () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
    body, skipped = length - len(start), 0
    rows: list[tuple[int, ...]] = []
    held: list[int] = []
    for passage in shuffled:
        if len(rows) >= share.rows:
            break
        ids = _ids(passage, tokenizer, prompt_format)
        skipped += not ids
        held += ids
        rows += [(*start, *row) for row in _full(held, body)]
        del held[: len(held) // body * body]
    if not rows and len(held) > 1:
        rows.append((*start, *held))
    return rows[: share.rows], skipped


def _full(ids: list[int], size: int) -> Iterator[list[int]]:
    for at in range(0, len(ids) - size + 1, size):
        yield ids[at : at + size]


def _ids(passage: Item, tokenizer: Any, prompt_format: PromptFormat) -> list[int]:
    """A passage as the model will meet it; [] for a conversation its format cannot hold."""
    if isinstance(passage, Document):
        text = passage.text
    else:
        try:
            text = prompt_format.render(passage).text
        except BadRequest:
            return []
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        text = text.removeprefix(tokenizer.bos_token)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    end = tokenizer.eos_token_id
    return ids if end is None or ids[-1:] == [end] else [*ids, end]
