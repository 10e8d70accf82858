"""A client that weighs little: it asks several streams at once and reads them after they end.

While answers run it only notes which bytes came when, in one thread and without parsing, so that
it takes next to nothing from the two servers that are compared.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 120.0  # seconds without a byte after which a measurement is given up


@dataclass(frozen=True, slots=True)
class Ask:
    """One `POST` of JSON."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self, host: str) -> bytes:
        body = json.dumps(self.body, ensure_ascii=False).encode("utf-8")
        headers = {
            "Host": host,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **self.headers,
        }
        head = [f"POST {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + body


@dataclass(frozen=True, slots=True)
class Event:
    """The `data:` of one server-sent event, and how many seconds after the question it came."""

    seconds: float
    data: str


def ask_together(address: tuple[str, int], asks: Sequence[Ask]) -> list[list[Event]]:
    """The events of each answer; all clocks start when the first question is sent."""
    host = f"{address[0]}:{address[1]}"
    messages = [ask.to_bytes(host) for ask in asks]
    received: list[list[tuple[float, bytes]]] = [[] for _ in asks]
    start = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for message, parts in zip(messages, received, strict=True):
            sock = socket.create_connection(address)
            sock.sendall(message)
            selector.register(sock, selectors.EVENT_READ, parts)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise TimeoutError(f"{host} said nothing for {PATIENCE:.0f} seconds")
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65536)
                key.data.append((time.perf_counter() - start, data))
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
    return [list(_events(parts)) for parts in received]


def _events(parts: Sequence[tuple[float, bytes]]) -> Iterator[Event]:
    """Recorded bytes as events, each with the time at which its last byte came."""
    decoder = _Chunked()
    pending = b""
    for seconds, data in parts:
        *lines, pending = (pending + decoder.feed(data)).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield Event(seconds, line[5:].strip().decode("utf-8"))


class _Chunked:
    """The body of an HTTP answer in chunked encoding, however its bytes are cut up."""

    def __init__(self) -> None:
        self._pending = b""
        self._left = -1  # bytes that the running chunk still owes; -1 before the headers end

    def feed(self, data: bytes) -> bytes:
        self._pending += data
        body = b""
        if self._left < 0 and not self._skip_head():
            return body
        while self._pending:
            if self._left == 0:
                size, end, rest = self._pending.removeprefix(b"\r\n").partition(b"\r\n")
                if not end:
                    break
                self._left, self._pending = int(size, 16), rest
                if self._left == 0:
                    break
            taken = self._pending[: self._left]
            self._left -= len(taken)
            self._pending = self._pending[len(taken) :]
            body += taken
        return body

    def _skip_head(self) -> bool:
        head, end, rest = self._pending.partition(b"\r\n\r\n")
        if not end:
            return False
        if b" 200 " not in head.split(b"\r\n")[0] or b"chunked" not in head.lower():
            raise ValueError(f"not a stream: {(head + end + rest)[:2000]!r}")
        self._pending, self._left = rest, 0
        return True
