"""A child process that is started, watched, restarted with back-off, and always ended with us."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from lightkorllm.errors import EngineUnavailable, ModelBroken

log = logging.getLogger(__name__)

FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0  # seconds between restarts
LIVED_WELL = 60.0  # after so many seconds a crash counts as the first again
CHECK_EVERY, MISSED_CHECKS = 10.0, 3  # health checks; so many silent ones in a row end the child


class Child:
    """Runs `python -m module`, hands it `settings` on stdin, and keeps it running.

    The child answers one JSON line, `{"url": …}` or `{"error": …}`. Raises `ModelBroken` with its
    last words when the first start fails; later crashes are followed by restarts.
    `healthy(url)` tells a hung child from a working one.
    """

    def __init__(
        self,
        module: str,
        settings: Mapping[str, Any],
        *,
        healthy: Callable[[str], bool],
        on_log: Callable[[str], None],
    ) -> None:
        self._argv = [sys.executable, "-m", module]
        self._settings = {**settings, "parent": os.getpid()}
        self._healthy = healthy
        self._on_log = on_log
        self._last_words: deque[str] = deque(maxlen=40)
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None
        self._error: str | None = None
        self._closing = threading.Event()
        self.starts = 0
        self._watcher = threading.Thread(target=self._watch, name="child-watcher", daemon=True)
        self._watcher.start()
        self._await_first_start()

    @property
    def url(self) -> str | None:
        """Where the child listens; None while it is down."""
        return self._url

    @property
    def pid(self) -> int | None:
        """The running child's process id."""
        return self._process.pid if self._process else None

    def wait_until_up(self, timeout: float) -> str | None:
        """The child's URL as soon as there is one, None after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._url or self._closing.is_set(), timeout)
            return self._url

    def close(self) -> None:
        """End the child: gently by closing its stdin, after two seconds by force."""
        self._closing.set()
        with self._changed:
            process = self._process
            self._changed.notify_all()
        if process is not None:
            _end(process)
        if threading.current_thread() is not self._watcher:
            self._watcher.join(timeout=10)

    def _await_first_start(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._url or self._error is not None)
        if self._error is not None:
            self._watcher.join(timeout=10)
            raise ModelBroken(self._error)

    def _watch(self) -> None:
        delay = FIRST_DELAY
        while not self._closing.is_set():
            born = time.monotonic()
            self._live_once()
            if self._error is not None:
                return
            delay = FIRST_DELAY if time.monotonic() - born > LIVED_WELL else delay
            if not self._closing.is_set():
                log.warning("엔진이 멈췄습니다. %.1f초 뒤에 다시 시작합니다.", delay)
            self._closing.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def _live_once(self) -> None:
        """One life of the child, from start to end."""
        process = self._start()
        if process is None:
            return
        try:
            url = self._hear(process)
            if url is None and self.starts == 0:
                self._say(error=self._reason())
            elif url is not None:
                self.starts += 1
                self._say(url=url)
                self._wait(process, url)
        finally:
            self._say(url=None, error=self._error)
            _end(process)

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._changed:
            if self._closing.is_set():
                return None
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            self._process = process
        threading.Thread(
            target=self._read_log, args=(process,), name="child-log", daemon=True
        ).start()
        return process

    def _hear(self, process: subprocess.Popen[bytes]) -> str | None:
        """The URL that the child says it listens on; None when it fails."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = json.dumps(self._settings, ensure_ascii=False) + "\n"
            process.stdin.write(line.encode("utf-8"))
            process.stdin.flush()
            answer: dict[str, str] = json.loads(process.stdout.readline() or b"{}")
        except (OSError, ValueError):
            return None
        if "error" in answer:
            self._last_words.append(f"E {answer['error']}")
        return answer.get("url")

    def _wait(self, process: subprocess.Popen[bytes], url: str) -> None:
        missed = 0
        while missed < MISSED_CHECKS:
            try:
                process.wait(timeout=CHECK_EVERY)
            except subprocess.TimeoutExpired:
                missed = 0 if self._healthy(url) else missed + 1
                continue
            return
        log.error("엔진이 응답하지 않아 강제로 끝냅니다.")
        process.kill()

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                self._last_words.append(text)
                self._on_log(text)

    def _reason(self) -> str:
        telling = [line for line in self._last_words if " E " in line or line.startswith("E ")]
        reason = (telling or list(self._last_words) or ["이유를 남기지 않고 끝났습니다"])[-1]
        return reason.removeprefix("E ")

    def _say(self, *, url: str | None = None, error: str | None = None) -> None:
        with self._changed:
            self._url, self._error = url, error
            self._changed.notify_all()


def unavailable() -> EngineUnavailable:
    """What a request is told while the child is down."""
    return EngineUnavailable("엔진을 다시 시작하는 중입니다. 잠시 뒤 다시 시도해 주세요.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close a child's stdin and see it end; kill it after two seconds."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                log.debug("pipe of the child was gone already")
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
