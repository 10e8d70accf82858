"""A plain HTTP client for tests: real sockets, whole answers and raw ones."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error


def call(
    port: int,
    path: str,
    body: Any = None,
    *,
    data: bytes | None = None,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 60,
) -> Answer:
    """One request: a POST of `body` as JSON or `data` as it is, else a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    payload = data if data is not None else None if body is None else json.dumps(body).encode()
    try:
        connection.request(
            method or ("GET" if payload is None else "POST"), path, payload, headers or {}
        )
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def events(body: bytes) -> list[Any]:
    """The JSON of each event in a stream's body, comments left out."""
    lines = body.decode("utf-8").split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def deltas(body: bytes) -> list[str]:
    """The texts of a stream's `delta` events."""
    return [event["delta"] for event in events(body) if "delta" in event]


def send_raw(port: int, path: str, body: dict[str, Any], *, key: str = "") -> socket.socket:
    """Send a POST and hand over the socket, so that a test can leave when it likes."""
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n"
    head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(head.encode() + payload)
    return sock


def received(sock: socket.socket) -> Iterator[bytes]:
    """What comes in, piece by piece, until the other side closes."""
    while piece := sock.recv(65536):
        yield piece
