"""Who may use the engine now, and who waits in line for it."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from lightkorllm.errors import EngineBusy


class Slots:
    """`count` places to work in and a first-come-first-served line of at most `queue`.

    Where `mixed` is false, only places of one kind are worked in at a time. Who comes for the
    kind at work doesn't overtake the line, so that every kind gets its turn.
    """

    def __init__(self, count: int, *, queue: int, mixed: bool = True) -> None:
        if count < 1 or queue < 0:
            raise ValueError(f"slots need count >= 1 and queue >= 0, got {count} and {queue}")
        self.count = count
        self.queue = queue
        self._mixed = mixed
        self._lock = threading.Lock()
        self._working: set[Place] = set()
        self._line: deque[Place] = deque()

    @property
    def busy(self) -> int:
        """How many places are worked in."""
        return len(self._working)

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def line_up(self, kind: str | None = None) -> Place:
        """A place, perhaps still in line; use it with `with`. Raises `EngineBusy` when full."""
        with self._lock:
            place = Place(self, kind)
            if not self._line and self._has_room_for(place):
                self._start(place)
            elif len(self._line) < self.queue:
                self._line.append(place)
            else:
                raise EngineBusy(slots=self.count, queue=self.queue)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back, or step out of the line; the next in line moves up."""
        with self._lock:
            if place in self._working:
                self._working.remove(place)
            elif place in self._line:
                self._line.remove(place)
            self._move_up()

    def _move_up(self) -> None:
        """Let in who comes next; at the change of kinds also those of the new one further back."""
        changing = not self._working
        for place in list(self._line):
            if self._has_room_for(place):
                self._line.remove(place)
                self._start(place)
            elif not changing:
                return

    def _has_room_for(self, place: Place) -> bool:
        same = self._mixed or all(other.kind == place.kind for other in self._working)
        return same and len(self._working) < self.count

    def _start(self, place: Place) -> None:
        self._working.add(place)
        place.turn_has_come.set()


class Place:
    """One reader's place: first in line, then in a slot, given back when its `with` ends."""

    def __init__(self, slots: Slots, kind: str | None = None) -> None:
        self._slots = slots
        self.kind = kind
        self.turn_has_come = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; whether the place is in a slot now."""
        return self.turn_has_come.wait(timeout)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._slots.leave(self)
