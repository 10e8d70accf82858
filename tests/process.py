"""`lightkorllm serve` as a process of its own, with its log."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil

from client import call

COMMAND = [sys.executable, "-m", "lightkorllm", "serve"]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Process:
    """One `lightkorllm serve` and its log."""

    def __init__(self, *flags: str, command: list[str] | None = None, **environ: str) -> None:
        self.port = _free_port()
        argv = [*(command or COMMAND), "--port", str(self.port), *flags]
        self.popen = subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, **environ}
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr
        with self.popen.stderr as lines:
            self.log.extend(lines)

    def wait_until_ready(self, within: float = 30) -> Process:
        end = time.monotonic() + within
        while time.monotonic() < end and self.popen.poll() is None:
            try:
                if call(self.port, "/health", timeout=2).status == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError("".join(self.log))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.popen.pid).children(recursive=True)

    def end(self, how: int = signal.SIGTERM, within: float = 15) -> int:
        self.popen.send_signal(how)
        return self.code(within)

    def code(self, within: float = 15) -> int:
        code = self.popen.wait(within)
        self._reader.join()
        return code

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.code()
