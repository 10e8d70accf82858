"""Keys and values of several answers at once: rows join and leave, all aligned at their ends.

Shorter rows have empty columns on their left, which the attention mask hides. What a forward pass
writes counts only after `commit`, so one that broke off leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from lightkorllm.errors import ModelBroken

_ROOM = 64  # columns that a buffer grows by


class _Layer(CacheLayerMixin):  # type: ignore[misc, no-untyped-call, unused-ignore]
    """One layer's buffers, [rows, heads, columns, width]; columns `start` to `start + held` count.

    `seen` is the committed length in the batch's columns; a layer with a `window` holds only the
    last `window - 1` of them.
    """

    def __init__(self, window: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._keys = self._values = torch.empty(0)
        self.window = window
        self.is_sliding = window is not None
        self.seen = self.held = self.start = self.written = 0

    @property
    def device(self) -> torch.device:
        return self._keys.device

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self._keys = _buffer(key_states, _ROOM)
        self._values = _buffer(value_states, _ROOM)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write behind what counts; give all of it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.written = key_states.shape[-2]
        end = self.start + self.held + self.written
        if end > self._keys.shape[-2]:
            self._grow()
            end = self.held + self.written
        self._keys[:, :, end - self.written : end] = key_states
        self._values[:, :, end - self.written : end] = value_states
        return self._keys[:, :, self.start : end], self._values[:, :, self.start : end]

    def commit(self) -> None:
        self.seen += self.written
        self.held += self.written
        self.written = 0
        if self.window is not None:
            self._forget(self.held - (self.window - 1))

    def keep(self, rows: torch.Tensor) -> None:
        self._keys, self._values = self._keys[rows], self._values[rows]

    def trim(self, columns: int) -> None:
        """Forget so many of the batch's first columns."""
        self.seen -= columns
        self._forget(self.held - self.seen)

    def joined(self, other: _Layer) -> _Layer:
        """This layer's rows and then the other's."""
        made = _Layer(self.window)
        made.seen, made.held = max(self.seen, other.seen), max(self.held, other.held)
        made._keys = _side_by_side(self._live(self._keys), other._live(other._keys))
        made._values = _side_by_side(self._live(self._values), other._live(other._values))
        made.is_initialized = True
        return made

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.held + query_length, self.seen - self.held

    def get_seq_length(self) -> int:
        return self.seen

    def get_max_length(self) -> int:
        return -1

    get_max_cache_shape = get_max_length  # its name before transformers 5.20

    def _live(self, buffer: torch.Tensor) -> torch.Tensor:
        return buffer[:, :, self.start : self.start + self.held]

    def _forget(self, columns: int) -> None:
        if columns > 0:
            self.start += columns
            self.held -= columns

    def _grow(self) -> None:
        room = _ROOM + self.written
        self._keys = _buffer(self._live(self._keys), room, filled=True)
        self._values = _buffer(self._live(self._values), room, filled=True)
        self.start = 0


def _buffer(like: torch.Tensor, room: int, *, filled: bool = False) -> torch.Tensor:
    rows, heads, columns, width = like.shape
    made = like.new_empty(rows, heads, columns + room, width)
    if filled:
        made[:, :, :columns] = like
    return made


def _side_by_side(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Both with zeros on the left of the shorter one: a hidden column must not hold NaN."""
    columns = max(first.shape[-2], second.shape[-2])
    rows = len(first) + len(second)
    made = first.new_empty(rows, first.shape[1], columns + _ROOM, first.shape[-1])
    for part, top in ((first, 0), (second, len(first))):
        left = columns - part.shape[-2]
        made[top : top + len(part), :, :left] = 0
        made[top : top + len(part), :, left:columns] = part
    return made


class RowCache(Cache):  # type: ignore[misc, unused-ignore]
    """The cache of some rows, as transformers' models want it."""

    def __init__(self, parts: list[_Layer]) -> None:
        super().__init__(layers=[*parts])
        self._parts = parts

    @classmethod
    def empty(cls, config: Any) -> RowCache:
        """For a model with this config. Raises `ModelBroken` for layers that aren't attention."""
        return cls([_layer_like(layer) for layer in DynamicCache(config=config).layers])

    @property
    def length(self) -> int:
        """Columns that count: the length of the longest row."""
        return self._parts[0].seen

    def commit(self) -> None:
        """What the last forward pass wrote counts from now on."""
        for layer in self._parts:
            layer.commit()

    def keep(self, rows: Sequence[int], *, longest: int) -> None:
        """Only these rows stay, the longest of which has so many tokens."""
        columns = self.length - longest
        index = torch.tensor(list(rows), device=self._parts[0].device)
        for layer in self._parts:
            layer.keep(index)
            layer.trim(columns)

    def joined(self, other: RowCache) -> RowCache:
        """A cache of these rows and then the other's. Neither may be used afterwards."""
        pairs = zip(self._parts, other._parts, strict=True)
        return RowCache([mine.joined(yours) for mine, yours in pairs])


def _layer_like(layer: Any) -> _Layer:
    if type(layer) is DynamicLayer:
        return _Layer(None)
    if type(layer) is DynamicSlidingWindowLayer:
        return _Layer(int(layer.sliding_window))
    raise ModelBroken(
        f"이 모델에는 transformers 엔진이 다루지 못하는 층({type(layer).__name__})이 있습니다. "
        "GGUF로 바꾼 모델이나 vLLM 서버를 써 주세요."
    )
