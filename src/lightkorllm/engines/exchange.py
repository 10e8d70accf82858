"""One HTTP/1.1 exchange with a server whose answer can be left at any moment.

A reader that waits inside a library's blocking read can't notice that its own client has gone.
So the socket is ours, h11 does the protocol, and silence comes out as `None` every heartbeat.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import h11

from lightkorllm.engines.base import HEARTBEAT
from lightkorllm.errors import BadRequest, EngineFailed, EngineUnavailable

CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 600.0  # longest silence before we give an answer up
MAX_JSON_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a server is: scheme, host, port and the path before its routes."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def from_url(cls, url: str) -> Origin:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise BadRequest("model", f"올바른 주소가 아닙니다: {url!r}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadRequest("model", f"http:// 또는 https:// 주소여야 합니다: {url!r}")
        default = 443 if parts.scheme == "https" else 80
        return cls(parts.scheme, parts.hostname, port or default, parts.path.rstrip("/"))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to make. `body` is sent as JSON; None makes it a GET."""

    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers (names in lower case) of an answer."""

    status: int
    headers: dict[str, str]


def exchange(
    origin: Origin, call: Call, *, patience: float = PATIENCE_SECONDS
) -> Generator[Head | bytes | None, None, None]:
    """The answer's `Head`, then its bytes as they come, with `None` at each silent heartbeat.

    Closing the generator closes the connection. Raises `EngineUnavailable` where the connection
    is lost before an answer begins, so that asking again does no harm, and `EngineFailed` where
    the answer breaks off, is not HTTP, or stays silent for longer than `patience` seconds.
    """
    protocol, begun = h11.Connection(h11.CLIENT), False
    with _connect(origin) as sock:
        try:
            sock.sendall(_request_bytes(protocol, origin, call))
            sock.settimeout(HEARTBEAT)
            for part in _answer(sock, protocol, origin, patience=patience):
                begun = begun or part is not None
                yield part
        except (h11.RemoteProtocolError, OSError) as error:
            raise _lost(origin, error, begun=begun) from None


def _lost(origin: Origin, error: Exception, *, begun: bool) -> Exception:
    if begun:
        return EngineFailed(f"{origin} 서버의 답이 중간에 끊겼거나 HTTP가 아닙니다 ({error}).")
    return EngineUnavailable(f"{origin} 서버가 답하지 않고 연결을 끊었습니다 ({error}).")


def fetch_json(origin: Origin, call: Call, *, patience: float = 30.0) -> tuple[int, Any]:
    """Status and JSON body of an answer; raises like `exchange`, also where it is not JSON."""
    status, body = 0, bytearray()
    for part in exchange(origin, call, patience=patience):
        if isinstance(part, Head):
            status = part.status
        elif part:
            body += part
        if len(body) > MAX_JSON_BYTES:
            raise EngineFailed(f"{origin}{call.path} 의 답이 너무 깁니다.")
    try:
        return status, json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise EngineFailed(f"{origin}{call.path} 의 답이 JSON이 아닙니다.") from None


def _connect(origin: Origin) -> socket.socket:
    try:
        sock = socket.create_connection((origin.host, origin.port), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise EngineUnavailable(f"{origin} 서버에 연결할 수 없습니다 ({error}).") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if origin.scheme == "http":
        return sock
    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=origin.host)
    except OSError as error:
        sock.close()
        raise EngineUnavailable(f"{origin} 서버와 TLS로 연결할 수 없습니다 ({error}).") from None


def _request_bytes(protocol: h11.Connection, origin: Origin, call: Call) -> bytes:
    body = b"" if call.body is None else json.dumps(call.body, ensure_ascii=False).encode("utf-8")
    headers = {
        "Host": f"{origin.host}:{origin.port}",
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": "application/json; charset=utf-8",
        **call.headers,
    }
    request = h11.Request(
        method="GET" if call.body is None else "POST",
        target=origin.path + call.path,
        headers=list(headers.items()),
    )
    parts = (request, h11.Data(data=body), h11.EndOfMessage())
    return b"".join(protocol.send(part) or b"" for part in parts)


def _answer(
    sock: socket.socket, protocol: h11.Connection, origin: Origin, *, patience: float
) -> Generator[Head | bytes | None, None, None]:
    last_word = time.monotonic()
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            try:
                protocol.receive_data(sock.recv(65536))
                last_word = time.monotonic()
            except TimeoutError:
                if time.monotonic() - last_word > patience:
                    raise EngineFailed(
                        f"{origin} 서버가 {patience:.0f}초 동안 아무 답이 없습니다."
                    ) from None
                yield None
        elif isinstance(event, h11.Response):
            pairs = {name.decode("latin-1"): v.decode("latin-1") for name, v in event.headers}
            yield Head(event.status_code, pairs)
        elif isinstance(event, h11.Data):
            yield bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return
