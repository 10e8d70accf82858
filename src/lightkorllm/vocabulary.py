"""A Hugging Face tokenizer as engines and training want it: ids with one BOS, text that goes on.

Only the compiled tokenizer is asked, and never changed, so that any number of threads may.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

ENDS_OF_TURN = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "[|endofturn|]",
    "<|endofturn|>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>",
)  # fmt: skip
_ANCHORS = ("a", "1", ".", "e")


class Vocabulary:
    """`ends` are the ids that end an answer: those given, the tokenizer's EOS, and known turn ends.

    A model's own list often lacks the token that its chat template ends a turn with.
    """

    def __init__(self, tokenizer: Any, *, ends: Iterable[int] = ()) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._added = self._backend.get_added_tokens_decoder()
        self.bos = str(tokenizer.bos_token or "")
        self.eos = str(tokenizer.eos_token or "")
        self.adds_bos = self._adds_bos(tokenizer.bos_token_id)
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id
        self._first = next(
            (id_ for id_ in (self.bos_id, tokenizer.eos_token_id) if id_ is not None), 0
        )
        known = {number for number, token in self._added.items() if str(token) in ENDS_OF_TURN}
        eos = {tokenizer.eos_token_id} - {None}
        self.ends: frozenset[int] = frozenset({*ends, *eos, *(known - {self.bos_id})})
        self._has_byte_tokens = self._backend.token_to_id("<0xEA>") is not None
        self._anchor = self._find_anchor()

    def encode(self, text: str) -> list[int]:
        """A prompt's ids: special tokens are read as such; one BOS where the model wants it.

        There is always at least one id, since a model can't continue nothing.
        """
        ids, _ = self.encode_with_spans(text)
        return ids

    def encode_with_spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The same ids, and of each the characters of `text` that it stands for."""
        skipped = len(self.bos) if self.adds_bos and text.startswith(self.bos) else 0
        found = self._backend.encode(text[skipped:], add_special_tokens=False)
        ids = list(found.ids)
        spans = [(start + skipped, end + skipped) for start, end in found.offsets]
        if self.adds_bos:
            return [self.bos_id, *ids], [(0, skipped), *spans]
        return (ids, spans) if ids else ([self._first], [(0, 0)])

    def decode(self, ids: Sequence[int]) -> str:
        """Text that these ids add to a text before them: the first one's space is kept."""
        if self._anchor is None:
            return str(self._backend.decode(list(ids), skip_special_tokens=True))
        number, shown = self._anchor
        text = str(self._backend.decode([number, *ids], skip_special_tokens=True))
        if text.startswith(shown):
            return text[len(shown) :]
        return str(self._backend.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self, token_id: int) -> bytes:
        """What one token adds to the answer's UTF-8, perhaps half a syllable; special ones none."""
        if token_id in self._added:
            added = self._added[token_id]
            return b"" if added.special else str(added).encode("utf-8")
        piece = self._backend.id_to_token(token_id)
        if piece is None:
            return b""
        if not self._has_byte_tokens:
            return _bytes_of(piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        return str(piece).replace("\u2581", " ").encode("utf-8")

    def special(self, token_id: int) -> str:
        """How a special token is written; empty for every other token."""
        added = self._added.get(token_id)
        return str(added) if added is not None and added.special else ""

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def _adds_bos(self, bos_id: int | None) -> bool:
        with_special = self._backend.encode("가", add_special_tokens=True).ids
        without = self._backend.encode("가", add_special_tokens=False).ids
        return bos_id is not None and with_special[:1] == [bos_id] and without[:1] != [bos_id]

    def _find_anchor(self) -> tuple[int, str] | None:
        """A plain token that stands before what is decoded, so that no decoder eats a space."""
        for text in _ANCHORS:
            ids = self._backend.encode(text, add_special_tokens=False).ids
            if ids and self._backend.decode(ids[-1:], skip_special_tokens=True) == text:
                return ids[-1], text
        return None


def _byte_of_character() -> dict[str, int]:
    """The letters by which byte-level tokenizers write bytes, from OpenAI's GPT-2 encoder."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + number): byte for number, byte in enumerate(others)}


_BYTE_OF = _byte_of_character()


def _bytes_of(piece: str) -> bytes:
    return b"".join(
        bytes([_BYTE_OF[char]]) if char in _BYTE_OF else char.encode("utf-8") for char in piece
    )
