"""The listening socket and the WSGI server on it: waitress, made to speak JSON in every error."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
from typing import Any

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from lightkorllm.errors import BodyTooLarge, OptionError, PortInUse, UserError
from lightkorllm.server import faults

CONNECTIONS = 1000  # open ones, idle ones included
IDLE_SECONDS = 120  # after which a silent connection is closed


class Door:
    """Binds `host:port` at once; `serve` then lets clients in until `stop`.

    Raises `PortInUse`, or `OptionError` where the address can't be had at all.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = _bind(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._map: dict[int, Any] = {}
        self._server: Any = None
        self._lock = threading.Lock()
        self._stopped = False

    def serve(self, app: Flask, *, threads: int) -> None:
        """Serve `app` from this thread until `stop` is called."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # our queue answers 429
        with self._lock:
            if self._stopped:
                return
            self._server = create_server(
                app,
                map=self._map,
                sockets=[self._socket],
                threads=threads,
                connection_limit=CONNECTIONS,
                channel_request_lookahead=1,  # lets us see that a client has left
                channel_timeout=IDLE_SECONDS,
                max_request_body_size=app.config["MAX_CONTENT_LENGTH"],
                outbuf_high_watermark=1 << 20,
                ident=None,
            )
            self._server.channel_class = _Channel
        self._server.run()
        self._server.task_dispatcher.shutdown(timeout=2)

    def stop(self) -> None:
        """End `serve` or keep it from beginning, from any thread; running answers are cut."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            if self._server is None:
                self._socket.close()
            else:
                self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise OptionError("--host", f"그런 주소는 없습니다: {host}") from None
    sock = socket.socket(family, kind, proto)
    try:
        if os.name == "nt":  # there, SO_REUSEADDR would take the port from its owner
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES) and port:
            raise PortInUse(host, port) from None
        raise OptionError("--host", f"{host}:{port} 를 열 수 없습니다 ({error.strerror})") from None
    return sock


class _JsonErrorTask(ErrorTask):  # type: ignore[misc]
    """What waitress refuses before our application sees it: bad HTTP, bodies over the limit."""

    def execute(self) -> None:
        status, headers, _ = self.request.error.to_response(None)
        limit = self.channel.server.adj.max_request_body_size
        error = BodyTooLarge(limit) if status.startswith("413") else UserError(_BROKEN)
        body = json.dumps(faults.body(error), ensure_ascii=False).encode("utf-8")
        kept = [(name, value) for name, value in headers if name.lower() != "content-type"]
        self.status = status
        self.response_headers.extend([*kept, ("Content-Type", "application/json; charset=utf-8")])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


_BROKEN = "요청이 올바른 HTTP가 아니거나 너무 큽니다."


class _Channel(HTTPChannel):  # type: ignore[misc]
    error_task_class = _JsonErrorTask
