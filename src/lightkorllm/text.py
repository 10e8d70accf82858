"""From bytes or token ids to text that is safe to show: whole characters, no stop string, no label.

Everything here is fed in pieces and flushed at the end, and what comes out, joined, does not
depend on how the pieces were cut. Nothing that was returned has ever to be taken back.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

_REPLACEMENT = "\ufffd"
_JOINER = "\u200d"
_FULL_WIDTH_COLON = "："
_MAX_HELD_IDS = 8  # an unfinished character is at most three byte tokens
_MAX_CHARACTER_BYTES = 4
_MAX_LABEL_GAP = 8  # spaces that may stand between a label and its colon


class Utf8Text:
    """UTF-8 bytes to text. Broken bytes become U+FFFD, exactly as `bytes.decode` replaces them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._joiners = _JoinerHold()

    @property
    def pending(self) -> bytes:
        """The beginning of a character whose last bytes have not come."""
        return self._decoder.getstate()[0]

    def feed(self, data: bytes) -> str:
        """The whole characters that these bytes complete; an unfinished one waits."""
        return self._joiners.feed(self._decoder.decode(data))

    def flush(self) -> str:
        """What was held back. Half a syllable is not shown: it stays in `pending`."""
        return self._joiners.flush()


class IdText:
    """Token ids to text, by a tokenizer's own `decode`, at a flat cost for each token.

    Only the last few ids are decoded again, together with those shown before them, so decoders
    that strip the first space or spell characters as byte tokens give what they give at once.
    Bytes that are no UTF-8 come out as U+FFFD after a while, and spoil nothing that follows.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []  # those shown last, then those held
        self._shown = ""  # how `decode(self._ids)` begins
        self._held = 0
        self._joiners = _JoinerHold()

    def feed(self, token_id: int) -> str:
        """The text that this token completes; an unfinished character waits."""
        self._ids.append(token_id)
        self._held += 1
        return self._joiners.feed(self._ready())

    def flush(self) -> str:
        """What was held back, without the U+FFFD of a character that was never finished."""
        rest = self._release(self._decode(self._ids)) if self._held else ""
        return self._joiners.feed(rest.rstrip(_REPLACEMENT)) + self._joiners.flush()

    def _ready(self) -> str:
        text = self._decode(self._ids)
        if text == self._shown or not text.endswith(_REPLACEMENT):
            return self._show(text)
        return self._release(text) if self._held > _MAX_HELD_IDS else ""

    def _show(self, text: str) -> str:
        held = self._ids[-self._held :]
        # A decoder may rewrite what was shown ("네 ." to "네."): then the new ids speak alone.
        new = text[len(self._shown) :] if text.startswith(self._shown) else self._decode(held)
        if new:
            self._anchor(held)
            return self._reread(held, new)
        if self._held > _MAX_HELD_IDS:
            del self._ids[-self._held :]  # special tokens that show nothing
            self._held = 0
        return ""

    def _release(self, text: str) -> str:
        if text == self._shown:
            return ""
        whole = text.rstrip(_REPLACEMENT)
        if not whole.startswith(self._shown) or whole == self._shown:
            return self._resync()
        new = whole[len(self._shown) :]  # each token ends inside a character, and so does this one
        self._anchor(self._ids[-self._held :], unfinished=len(text) - len(whole))
        return new

    def _anchor(self, ids: list[int], *, unfinished: int = 0) -> None:
        text = self._decode(ids)
        self._ids, self._held = ids, 0
        self._shown = text[: len(text) - unfinished]

    def _reread(self, held: list[int], new: str) -> str:
        """`new`, with the characters that a broken byte in the same run of byte tokens hid."""
        if _REPLACEMENT not in new:
            return new
        before = self._decode(held[:-1])
        if before.strip(_REPLACEMENT) or not new.startswith(before):
            return new
        return "".join(text for text, _ in self._pieces(held[:-1])) + new[len(before) :]

    def _resync(self) -> str:
        """The held ids read piece by piece; up to three that may begin a character stay held."""
        pieces = [piece for piece in self._pieces(self._ids[-self._held :]) if piece[0]]
        kept: list[int] = []
        while pieces and len(kept) < _MAX_CHARACTER_BYTES - 1 and not _is_whole(pieces[-1][0]):
            kept = pieces.pop()[1] + kept
        if kept or not pieces:
            self._ids, self._held, self._shown = kept, len(kept), ""
        else:
            self._anchor(pieces[-1][1])
        return "".join(text for text, _ in pieces)

    def _pieces(self, ids: list[int]) -> Iterator[tuple[str, list[int]]]:
        start = 0
        while start < len(ids):
            piece = ids[start : start + 1]
            for size in range(1, _MAX_CHARACTER_BYTES + 1):
                if _is_whole(self._decode(ids[start : start + size])):
                    piece = ids[start : start + size]
                    break
            yield self._decode(piece), piece
            start += len(piece)


def _is_whole(text: str) -> bool:
    return text != "" and not text.endswith(_REPLACEMENT)


class _JoinerHold:
    """Keeps a zero-width joiner until what it joins has come, so no chunk ends inside a join."""

    def __init__(self) -> None:
        self._count = 0

    def feed(self, text: str) -> str:
        whole = text.rstrip(_JOINER)
        ready = self.flush() + whole if whole else ""
        self._count += len(text) - len(whole)
        return ready

    def flush(self) -> str:
        held, self._count = _JOINER * self._count, 0
        return held


class StopScanner:
    """Passes text on until the first stop string, which it swallows with all that follows.

    The stop whose end comes first fires; of those that end together, the longest. Composed and
    decomposed Hangul are equal, and so are `：` and `:`. A stop never ends inside a syllable
    that is spelled in jamo. Empty stops are no stops. Work for a chunk is linear in the chunk
    and the longest stop (Knuth-Morris-Pratt, for each stop).
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self.found: str | None = None
        self._stops = [_Stop(stop) for stop in stops if stop]
        self._stops.sort(key=lambda stop: stop.size, reverse=True)
        self._complete: _Stop | None = None  # the stop that ends where the text ends
        self._held = ""
        self._starts: list[bool] = []  # for each folded unit: does it begin a code point

    @property
    def stopped(self) -> bool:
        """A stop string has come: whoever reads may stop generating."""
        return self.found is not None

    def feed(self, text: str) -> str:
        """The text that is safe to show. Held back is only what may still become a stop."""
        if self.found is not None:
            return ""
        for index, char in enumerate(text):
            if self._complete and not _continues_syllable(char):
                return self._fire(self._complete, self._held + text[:index])
            self._read(char)
            if self._complete and not _is_conjoining(char):
                return self._fire(self._complete, self._held + text[: index + 1])
        return self._release(self._held + text)

    def flush(self) -> str:
        """The rest: the text has ended, so a look-alike is text and a stop in jamo is a stop."""
        if self._complete:
            return self._fire(self._complete, self._held)
        rest, self._held = self._held, ""
        return rest

    def _read(self, char: str) -> None:
        units = _fold_character(char)
        self._starts += [True] + [False] * (len(units) - 1)
        for stop in self._stops:
            stop.read(units, self._starts)
        self._complete = next((stop for stop in self._stops if stop.matched == stop.size), None)

    def _fire(self, stop: _Stop, text: str) -> str:
        self.found = stop.text
        self._held, self._complete = "", None
        return text[: len(text) - sum(self._starts[-stop.size :])]

    def _release(self, text: str) -> str:
        hold = max((stop.matched for stop in self._stops), default=0)
        del self._starts[: len(self._starts) - hold]
        safe = len(text) - sum(self._starts)
        self._held = text[safe:]
        return text[:safe]


class _Stop:
    """One stop string and how many of its folded units the text read so far ends with."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        self._units = _fold(text)
        self.size = len(self._units)
        self._borders = _borders(self._units)

    def read(self, units: str, starts: list[bool]) -> None:
        """Reads the units of one code point. A match begins where a code point begins."""
        for unit in units:
            while self.matched == self.size or (self.matched and self._units[self.matched] != unit):
                self.matched = self._borders[self.matched]
            self.matched += self._units[self.matched] == unit
        while self.matched and not starts[-self.matched]:
            self.matched = self._borders[self.matched]


def _borders(units: str) -> list[int]:
    """For each length, the longest proper prefix of that prefix that is also its suffix."""
    borders = [0, 0]
    for unit in units[1:]:
        border = borders[-1]
        while border and units[border] != unit:
            border = borders[border]
        borders.append(border + (units[border] == unit))
    return borders


def _fold(text: str) -> str:
    return "".join(map(_fold_character, text))


def _fold_character(char: str) -> str:
    return ":" if char == _FULL_WIDTH_COLON else unicodedata.normalize("NFD", char)


def _is_conjoining(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\ua960" <= char <= "\ua97f" or _is_old_jamo(char)


def _continues_syllable(char: str) -> bool:
    if "\u1160" <= char <= "\u11ff" or _is_old_jamo(char):
        return True
    return unicodedata.category(char).startswith("M")


def _is_old_jamo(char: str) -> bool:
    return "\ud7b0" <= char <= "\ud7ff"


class ReplyText:
    """The answer of a chat model as a person should see it.

    At its beginning spaces, then newlines, then one label of the model's own (`### AI:`) are
    dropped; it ends before the first stop string, and without white space at its end. `marks`
    are stop strings of the prompt format: where the answer breaks off inside one that began a
    line (`…요.\n\n##` of `### 사용자`), that piece is dropped too.
    """

    def __init__(
        self,
        *,
        stops: Iterable[str] = (),
        marks: Iterable[str] = (),
        ai_labels: Iterable[str] = (),
    ) -> None:
        self._marks = tuple(marks)
        self._opening = _Opening(ai_labels)
        self._scanner = StopScanner((*self._marks, *stops))
        self._blank: list[str] = []
        self._began = False

    @property
    def stopped(self) -> bool:
        """A stop string has come: whoever reads may stop generating."""
        return self._scanner.stopped

    def feed(self, text: str) -> str:
        """The text that is safe to show now."""
        return self._without_end(self._scanner.feed(self._opening.feed(text)))

    def flush(self) -> str:
        """The rest of the answer."""
        ready = self._without_end(self._scanner.feed(self._opening.flush()))
        rest = self._scanner.flush()
        return ready if self._is_piece_of_mark(rest) else ready + self._without_end(rest)

    def _is_piece_of_mark(self, rest: str) -> bool:
        """A last line such as `##`, but no letter: `H` may be an answer, and so may a lone `#`."""
        if not self._began or "\n" not in "".join(self._blank) or rest[:1].isalnum():
            return False
        return any(_fold(mark).startswith(_fold(rest)) for mark in self._marks)

    def _without_end(self, text: str) -> str:
        whole = text.rstrip()
        if not whole:
            self._blank.append(text)
            return ""
        ready = "".join(self._blank) + whole
        self._blank = [text[len(whole) :]]
        self._began = True
        return ready


def polish(
    text: str,
    *,
    stops: Iterable[str] = (),
    marks: Iterable[str] = (),
    ai_labels: Iterable[str] = (),
) -> tuple[str, bool]:
    """A whole answer as `ReplyText` would stream it, and whether a stop string ended it."""
    reply = ReplyText(stops=stops, marks=marks, ai_labels=ai_labels)
    return reply.feed(text) + reply.flush(), reply.stopped


class _Opening:
    """Drops the blank and the one label that an answer begins with; then passes everything on.

    A label is followed by a colon (eight spaces may stand before it), by a newline or by the end.
    One that does not begin like a word (`### AI`) may be followed by just a space, but `AI 기술은`
    begins a sentence.
    """

    def __init__(self, labels: Iterable[str]) -> None:
        bare = {_fold(label).strip().rstrip(" :") for label in labels}
        self._labels = sorted(bare - {""}, key=len, reverse=True)
        self._label = re.compile("|".join(map(_label_pattern, self._labels)))
        self._blank = _LeadingBlank()
        self._head = ""
        self._open = bool(self._labels)

    def feed(self, text: str) -> str:
        text = self._blank.feed(text)
        if not self._open:
            return text
        self._head += text
        folded = _fold(self._head)
        if any(_may_become_label(folded, label) for label in self._labels):
            return ""
        return self._close(folded)

    def flush(self) -> str:
        return self._close(_fold(self._head) + "\n") if self._open else ""

    def _close(self, folded: str) -> str:
        self._open = False
        label = self._label.match(folded)
        if label is None:
            return self._head
        self._blank = _LeadingBlank()
        return self._blank.feed(_without_units(self._head, label.end()))


def _label_pattern(label: str) -> str:
    gap = f" {{0,{_MAX_LABEL_GAP}}}"
    bare = rf"{gap}[\r\n]" if label[0].isalnum() else r"[ \r\n]"
    return rf"{re.escape(label)}(?:{gap}:|(?={bare}))"


def _may_become_label(folded: str, label: str) -> bool:
    gap = folded[len(label) :]
    undecided = len(gap) <= _MAX_LABEL_GAP and not gap.strip(" ")
    return label.startswith(folded) or (folded.startswith(label) and undecided)


def _without_units(text: str, count: int) -> str:
    """The text after its first `count` folded units, which end where a code point ends."""
    end = 0
    while count > 0:
        count -= len(_fold_character(text[end]))
        end += 1
    return text[end:]


class _LeadingBlank:
    """Drops spaces, then newlines, from the beginning; the first line's indentation stays."""

    def __init__(self) -> None:
        self._runs = [" ", "\r\n"]

    def feed(self, text: str) -> str:
        while text and self._runs:
            text = text.lstrip(self._runs[0])
            if text:
                del self._runs[0]
        return text
