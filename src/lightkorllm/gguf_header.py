"""What the first pages of a GGUF file say: metadata and the tensors' shapes, without the weights.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkorllm.errors import ModelBroken, ModelNotFound

_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_LONGEST_ARRAY_KEPT = 64
_MOST_DIMENSIONS = 4
_BROKEN = (ValueError, TypeError, ArithmeticError, struct.error, LookupError, RecursionError)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata by key; arrays longer than 64 items (vocabularies) are left out.

    `tensors` are shapes by name, outermost first as in PyTorch; their data begins at `data_start`,
    each at its own of `starts` from there; `kinds` are ggml's numbers of their formats.
    """

    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    data_start: int = 0
    starts: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    @property
    def train_context(self) -> int:
        """Tokens of context the model was made for; 0 where the file does not say."""
        return int(self.metadata.get(f"{self.architecture}.context_length", 0))

    @property
    def chat_template(self) -> str | None:
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) and template.strip() else None

    def sizes(self, file_size: int) -> dict[str, int]:
        """Bytes of each tensor, with the blanks behind it, in a file of so many bytes."""
        order = sorted(self.starts, key=lambda name: self.starts[name])
        ends = [*(self.starts[name] for name in order[1:]), file_size - self.data_start]
        return {name: end - self.starts[name] for name, end in zip(order, ends, strict=True)}


def parse(data: bytes) -> GgufHeader | None:
    """The header that a file begins with; None where these first bytes are not all of it.

    Raises `ModelBroken` where they are no GGUF.
    """
    try:
        return _Cursor(data).header()
    except _EndsEarly:
        return None
    except _BROKEN:
        raise ModelBroken("올바른 GGUF가 아닙니다. 다른 파일을 골라 주세요.") from None


def read(path: Path) -> GgufHeader:
    """The header of a GGUF file. Raises `ModelNotFound` or, where it is not GGUF, `ModelBroken`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()
    except FileNotFoundError:
        raise ModelNotFound(f"모델 파일이 없습니다: {path}") from None
    except OSError as error:
        raise ModelNotFound(f"모델 파일을 읽을 수 없습니다: {path} ({error.strerror})") from None
    except _BROKEN:
        raise ModelBroken(
            f"{path} 파일은 올바른 GGUF가 아닙니다. 내려받다가 끊긴 파일이 아닌지 확인해 주세요."
        ) from None


class _EndsEarly(ValueError):
    """What was to be read lies past the end."""


class _Cursor:
    """Reads forward through a mapped file or bytes; every read past the end raises."""

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._at = 0

    def header(self) -> GgufHeader:
        if self._take(4) != b"GGUF" or self._number("I") not in (2, 3):
            raise ValueError("not GGUF 2 or 3")
        count, pairs = self._number("Q"), self._number("Q")
        metadata = {self._string(): self._value(self._number("I")) for _ in range(pairs)}
        tensors, kinds, starts = {}, {}, {}
        for _ in range(count):
            name = self._string()
            tensors[name] = self._shape()
            kinds[name] = int(self._number("I"))
            starts[name] = int(self._number("Q"))
        alignment = int(metadata.get("general.alignment", 32))
        return GgufHeader(metadata, tensors, -(-self._at // alignment) * alignment, starts, kinds)

    def _shape(self) -> tuple[int, ...]:
        """A tensor's sizes, which the file has innermost first."""
        dimensions = self._number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError("a tensor of too many dimensions")
        sizes = [self._number("Q") for _ in range(dimensions)]
        return tuple(reversed(sizes))

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise _EndsEarly
        self._at += size
        return piece

    def _number(self, code: str) -> Any:
        return struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))[0]

    def _string(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        return self._number(_NUMBERS[kind])

    def _array(self) -> list[Any] | None:
        kind, count = self._number("I"), self._number("Q")
        if count <= _LONGEST_ARRAY_KEPT:
            return [self._value(kind) for _ in range(count)]
        if kind == _STRING:
            self._skip_strings(count)
        elif kind == _ARRAY:
            for _ in range(count):
                self._array()
        else:
            self._skip(count * struct.calcsize("<" + _NUMBERS[kind]))
        return None

    def _skip(self, size: int) -> None:
        if self._at + size > len(self._data):
            raise _EndsEarly
        self._at += size

    def _skip_strings(self, count: int) -> None:
        data, at, unpack = self._data, self._at, struct.Struct("<Q").unpack_from
        for _ in range(count):
            if at + 8 > len(data):
                raise _EndsEarly
            at += 8 + unpack(data, at)[0]
        self._at = at
        self._skip(0)
