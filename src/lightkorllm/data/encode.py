"""Conversations as token ids with marks on what is learned: rendered as the server renders them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.data.dataset import Document, Item
from lightkorllm.errors import BadRequest, DataBroken
from lightkorllm.prompts.base import Piece, PromptFormat
from lightkorllm.vocabulary import ENDS_OF_TURN, Vocabulary

IGNORED = -100  # the label that losses skip, as in PyTorch

Reason = Literal["long", "blank", "format"]

_REASONS = {
    "long": "너무 길어서",
    "blank": "배울 답이 없어서",
    "format": "프롬프트 형식으로 적을 수 없어서",
}
_LEADS = ("\n", "가", "1", "뷁")  # texts to spell an answer behind; not all join with its start


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: its ids, and of each whether the model learns to say it."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]

    @property
    def labels(self) -> list[int]:
        """The ids that are learned and `IGNORED` for all others, as trainers take them."""
        pairs = zip(self.ids, self.learned, strict=True)
        return [number if learned else IGNORED for number, learned in pairs]


@dataclass(frozen=True, slots=True)
class Dropped:
    """An item that is not learned from: its place among the items and its length in tokens."""

    item: int
    reason: Reason
    tokens: int = 0
    detail: str = ""

    @property
    def why(self) -> str:
        size = f" ({self.tokens:,}토큰)" if self.tokens else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{_REASONS[self.reason]} 뺐습니다{size}{detail}"

    def __str__(self) -> str:
        return f"{self.item + 1:,}번째: {self.why}"


@dataclass(frozen=True, slots=True)
class Encoding:
    """A data set as ids. `items` says which item each row was made of.

    `literal_ends` answers and documents ended with an end marker spelled out as text, which was
    taken off.
    """

    rows: tuple[Encoded, ...]
    items: tuple[int, ...]
    dropped: tuple[Dropped, ...] = ()
    literal_ends: int = 0

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows)

    @property
    def learned_tokens(self) -> int:
        return sum(sum(row.learned) for row in self.rows)

    def lines(self) -> list[str]:
        """What was dropped and mended, Korean; empty where nothing was."""
        return told(self.dropped, self.literal_ends)


def told(dropped: Sequence[Dropped], literal_ends: int) -> list[str]:
    """How many items were dropped for which reason, and how many literal ends were taken off."""
    counts = Counter(drop.reason for drop in dropped)
    lines = [f"{count:,}개는 {_REASONS[reason]} 뺐습니다." for reason, count in counts.items()]
    if literal_ends:
        lines.append(
            f"{literal_ends:,}개의 끝에 글로 적힌 끝 표시(</s> 따위)를 떼어 냈습니다. "
            "끝 토큰은 저절로 붙습니다."
        )
    return lines


@dataclass(frozen=True, slots=True)
class Encoder:
    """Rows of at most `length` tokens (0: any length).

    Of conversations the answers are learned, of documents everything; with `learn_all` of
    conversations too. What is too long is dropped and never cut, for a cut answer teaches to stop
    early; only documents, which have no answer to spoil, go on in a next row.
    """

    vocabulary: Vocabulary
    prompt_format: PromptFormat
    length: int = 0
    learn_all: bool = False

    def encode(self, items: Sequence[Item]) -> Encoding:
        """All items in their order. Raises `DataBroken` where no row is left."""
        rows: list[Encoded] = []
        places: list[int] = []
        dropped: list[Dropped] = []
        ends = 0
        for place, item in enumerate(items):
            bare = without_literal_ends(item, (self.vocabulary.eos, *ENDS_OF_TURN))
            ends += mended(item, bare)
            made = self._rows(bare, place)
            if isinstance(made, Dropped):
                dropped.append(made)
                continue
            rows += made
            places += [place] * len(made)
        if not rows:
            raise DataBroken(nothing_left(dropped, length=self.length))
        return Encoding(tuple(rows), tuple(places), tuple(dropped), ends)

    def _rows(self, item: Item, place: int) -> list[Encoded] | Dropped:
        if isinstance(item, Document):
            return list(self._windows(item)) or Dropped(place, "blank")
        try:
            row = self.row(item)
        except BadRequest as problem:
            return Dropped(place, "format", detail=problem.message)
        if not any(row.learned):
            return Dropped(place, "blank")
        if self.length and len(row.ids) > self.length:
            return Dropped(place, "long", len(row.ids))
        return [row]

    def row(self, conversation: Conversation) -> Encoded:
        """One conversation, however long, closed by EOS or by its format's own end of turn.

        What stands before the last answer are exactly the ids that an engine gets for it.
        Raises `BadRequest` where the format cannot write the conversation.
        """
        if not last_answer(conversation).strip():
            return Encoded((), ())
        pieces = self.prompt_format.render(conversation).pieces
        last = max(at for at, piece in enumerate(pieces) if piece.learned)
        before, answer = pieces[:last], pieces[last].text
        prompt = "".join(piece.text for piece in before)
        ids, spans = self.vocabulary.encode_with_spans(prompt)
        earlier = _learned_spans(before)
        learned = [_is_within(span, earlier) for span in spans]
        answer_ids = self._closed(self._continued(prompt, answer, ids))
        if self.learn_all:
            learned = [number > 0 or not self.vocabulary.adds_bos for number in range(len(ids))]
        return Encoded((*ids, *answer_ids), (*learned, *[True] * len(answer_ids)))

    def _continued(self, prompt: str, answer: str, ids: list[int]) -> list[int]:
        """The ids of an answer as they go on behind the ids of its prompt."""
        whole = self.vocabulary.encode(prompt + answer)
        if whole[: len(ids)] == ids:
            return whole[len(ids) :]
        for lead in _LEADS:  # the tokenizer would join both: spell it behind something else
            start, both = self.vocabulary.encode(lead), self.vocabulary.encode(lead + answer)
            if both[: len(start)] == start:
                return both[len(start) :]
        return self.vocabulary.encode(answer)[self.vocabulary.adds_bos :]

    def _closed(self, ids: list[int]) -> list[int]:
        end = self.vocabulary.eos_id
        if end is None or (ids and ids[-1] in self.vocabulary.ends):
            return ids
        return [*ids, end]

    def _windows(self, document: Document) -> Iterator[Encoded]:
        ids = self._closed(self.vocabulary.encode(document.text))
        start = ids[:1] if self.vocabulary.adds_bos else []
        body = ids[len(start) :]
        size = max(1, self.length - len(start)) if self.length else len(body)
        for at in range(0, len(body), size):
            part = body[at : at + size]
            if len(part) > 1:  # an end alone teaches nothing
                told = [False] * len(start) + [True] * len(part)
                yield Encoded((*start, *part), tuple(told))


def nothing_left(dropped: Sequence[Dropped], *, length: int = 0) -> str:
    """Why no row is left, Korean: where most are too long, with the lengths."""
    lengths = sorted(drop.tokens for drop in dropped if drop.reason == "long")
    if len(lengths) * 2 > len(dropped):
        return (
            f"모든 행이 {length:,}토큰보다 깁니다(가장 짧은 것 {lengths[0]:,}, 가장 긴 것 "
            f"{lengths[-1]:,}토큰). --max_length를 {lengths[-1]:,} 이상으로 늘리거나 글을 "
            "나눠 주세요."
        )
    few = " / ".join(map(str, dropped[:3]))
    return f"배울 것이 있는 행이 하나도 없습니다. {few}".rstrip()


def last_answer(conversation: Conversation) -> str:
    """What the assistant said last; empty where it never spoke."""
    answers = (turn.text for turn in reversed(conversation.turns) if turn.role == "assistant")
    return next(answers, "")


def _learned_spans(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    spans, at = [], 0
    for piece in pieces:
        if piece.learned:
            spans.append((at, at + len(piece.text)))
        at += len(piece.text)
    return spans


def _is_within(span: tuple[int, int], outer: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span[0] < span[1] <= end for start, end in outer)


def without_literal_ends(item: Item, ends: tuple[str, ...]) -> Item:
    """The same item, its answers without the end markers that are spelled out at their ends."""
    if isinstance(item, Document):
        return Document(_bare(item.text, ends))
    turns = [
        Turn(turn.role, _bare(turn.text, ends)) if turn.role == "assistant" else turn
        for turn in item.turns
    ]
    return replace(item, turns=tuple(turns))


def mended(item: Item, bare: Item) -> int:
    """How many texts of an item lost a literal end."""
    if isinstance(item, Document) or isinstance(bare, Document):
        return int(item != bare)
    return sum(turn != mended for turn, mended in zip(item.turns, bare.turns, strict=True))


def _bare(text: str, ends: tuple[str, ...]) -> str:
    """A text without the ends spelled at its end, nor the blanks before them."""
    bare, found = text, text.rstrip()
    while end := next((end for end in ends if end and found.endswith(end)), ""):
        bare = found = found.removesuffix(end).rstrip()
    return bare
