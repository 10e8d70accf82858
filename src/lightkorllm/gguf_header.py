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


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata by key; arrays longer than 64 items (vocabularies) are left out.

    `tensors` are shapes by name, outermost first as in PyTorch; their data begins at `data_start`.
    """

    metadata: dict[str, Any]
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    data_start: int = 0

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


def read(path: Path) -> GgufHeader:
    """The header of a GGUF file. Raises `ModelNotFound` or, where it is not GGUF, `ModelBroken`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(data).header()
    except FileNotFoundError:
        raise ModelNotFound(f"모델 파일이 없습니다: {path}") from None
    except OSError as error:
        raise ModelNotFound(f"모델 파일을 읽을 수 없습니다: {path} ({error.strerror})") from None
    except (
        ValueError, TypeError, ArithmeticError, struct.error, LookupError, RecursionError,
    ):  # fmt: skip
        raise ModelBroken(
            f"{path} 파일은 올바른 GGUF가 아닙니다. 내려받다가 끊긴 파일이 아닌지 확인해 주세요."
        ) from None


class _Cursor:
    """Reads forward through a mapped file; every read past its end raises."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def header(self) -> GgufHeader:
        if self._take(4) != b"GGUF" or self._number("I") not in (2, 3):
            raise ValueError("not GGUF 2 or 3")
        count, pairs = self._number("Q"), self._number("Q")
        metadata = {self._string(): self._value(self._number("I")) for _ in range(pairs)}
        tensors = {self._string(): self._shape() for _ in range(count)}
        alignment = int(metadata.get("general.alignment", 32))
        return GgufHeader(metadata, tensors, -(-self._at // alignment) * alignment)

    def _shape(self) -> tuple[int, ...]:
        """A tensor's sizes, which the file has innermost first; its kind and place are passed."""
        dimensions = self._number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError("a tensor of too many dimensions")
        sizes = [self._number("Q") for _ in range(dimensions)]
        self._skip(4 + 8)
        return tuple(reversed(sizes))

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the file ends early")
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
            raise ValueError("the file ends early")
        self._at += size

    def _skip_strings(self, count: int) -> None:
        data, at, unpack = self._data, self._at, struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
        self._at = at
        self._skip(0)
