"""Data as the model will see it: how long each item is, what of it is learned, what is dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lightkorllm.data import encode
from lightkorllm.data.dataset import Document, Item
from lightkorllm.data.encode import Dropped, Encoded, Encoder
from lightkorllm.errors import BadRequest, DataBroken
from lightkorllm.prompts.base import PromptFormat
from lightkorllm.vocabulary import ENDS_OF_TURN, Vocabulary

BOS, EOS = "<BOS>", "<EOS>"
_OPEN, _CLOSE = "[[", "]]"  # every Korean console has these signs
_SHOWN = 1000  # characters at either end of a long part
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a row that is learned, or is not, as a whole."""

    text: str
    learned: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A row to look at, and the item that it was made of. `length` is in the preview's unit."""

    item: int
    length: int
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The row on a screen without colours: what is learned stands in `[[…]]`."""
        return "".join(
            f"{_OPEN}{showable(part.text)}{_CLOSE}" if part.learned else showable(part.text)
            for part in self.parts
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """What becomes of items. `lengths` are of all that could be written, dropped or not, each
    with its item; `learned` is how much of the kept ones is learned.

    `unit` is `토큰` or, where no tokenizer is known, `자`; then nothing is too long.
    """

    unit: str
    prompt_format: str
    lengths: tuple[tuple[int, int], ...]
    learned: int
    kept: int
    dropped: tuple[Dropped, ...]
    literal_ends: int
    rows: tuple[Shown, ...]


def by_tokens(items: Sequence[Item], encoder: Encoder, *, rows: int) -> Preview:
    """What training makes of items, with the first `rows` rows to look at.

    Raises `DataBroken` where no row is left.
    """
    made = encoder.encode(items)
    lengths = {drop.item: drop.tokens for drop in made.dropped if drop.tokens}
    start = int(encoder.vocabulary.adds_bos)
    for item, row in zip(made.items, made.rows, strict=True):
        lengths[item] = lengths.get(item, start) + len(row.ids) - start
    shown = [
        Shown(item, len(row.ids), tuple(_parts(row, encoder.vocabulary)))
        for item, row in zip(made.items[:rows], made.rows[:rows], strict=True)
    ]
    return Preview(
        unit="토큰",
        prompt_format=encoder.prompt_format.name,
        lengths=tuple(sorted(lengths.items())),
        learned=made.learned_tokens,
        kept=len(set(made.items)),
        dropped=made.dropped,
        literal_ends=made.literal_ends,
        rows=tuple(shown),
    )


def by_characters(
    items: Sequence[Item], prompt_format: PromptFormat, *, rows: int, learn_all: bool = False
) -> Preview:
    """The same as far as it can be told without a tokenizer. Raises `DataBroken`."""
    seen: list[Shown] = []
    dropped: list[Dropped] = []
    ends = 0
    for place, item in enumerate(items):
        bare = encode.without_literal_ends(item, ENDS_OF_TURN)
        ends += encode.mended(item, bare)
        try:
            parts = tuple(_written(bare, prompt_format, learn_all=learn_all))
        except BadRequest as problem:
            dropped.append(Dropped(place, "format", detail=problem.message))
            continue
        if parts:
            seen.append(Shown(place, _length(parts), parts))
        else:
            dropped.append(Dropped(place, "blank"))
    if not seen:
        raise DataBroken(encode.nothing_left(dropped))
    return Preview(
        unit="자",
        prompt_format=prompt_format.name,
        lengths=tuple((row.item, row.length) for row in seen),
        learned=sum(_length(part for part in row.parts if part.learned) for row in seen),
        kept=len(seen),
        dropped=tuple(dropped),
        literal_ends=ends,
        rows=tuple(seen[:rows]),
    )


def showable(text: str) -> str:
    """A text without its middle where it is long, and nothing in it that a terminal would obey."""
    left_out = len(text) - 2 * _SHOWN
    if left_out > 0:
        text = f"{text[:_SHOWN]} …({left_out:,}자 줄임)… {text[-_SHOWN:]}"
    return text.translate(_CONTROLS)


def _parts(row: Encoded, vocabulary: Vocabulary) -> Iterator[Part]:
    """Ids as text: special tokens by name, all others as they are said."""
    places = groupby(range(len(row.ids)), key=lambda at: row.learned[at])
    for learned, group in places:
        runs = groupby(group, key=lambda at: _name(row.ids, at, vocabulary))
        texts = [
            name * len(run) if name else vocabulary.decode([row.ids[at] for at in run])
            for name, run in ((name, list(found)) for name, found in runs)
        ]
        yield Part("".join(texts), learned)


def _name(ids: Sequence[int], at: int, vocabulary: Vocabulary) -> str:
    if ids[at] == vocabulary.bos_id and (at == 0 or ids[at] != vocabulary.eos_id):
        return BOS
    return EOS if ids[at] == vocabulary.eos_id else vocabulary.special(ids[at])


def _written(item: Item, prompt_format: PromptFormat, *, learn_all: bool) -> Iterator[Part]:
    """What `Encoder` would make of an item, before any tokenizer; nothing where that is blank."""
    if isinstance(item, Document):
        yield Part(item.text + EOS, learned=True)
        return
    if not encode.last_answer(item).strip():
        return
    pieces = prompt_format.render(item).pieces
    last = max(at for at, piece in enumerate(pieces) if piece.learned)
    for piece in pieces[:last]:
        yield Part(piece.text, piece.learned or learn_all)
    answer = pieces[last].text
    yield Part(answer if answer.endswith(ENDS_OF_TURN) else answer + EOS, learned=True)


def _length(parts: Iterator[Part] | Sequence[Part]) -> int:
    return sum(len(part.text.removesuffix(EOS)) for part in parts)
