"""A program under a pseudo-terminal: keys go in as bytes, and its screen can be read."""

from __future__ import annotations

import codecs
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable

import pyte

# The program makes the terminal its own, so that Ctrl-C and a new size reach it as signals.
_TAKE = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""

CTRL_C, CTRL_D, ENTER, ALT_ENTER, BACKSPACE, UP, TAB = (
    "\x03", "\x04", "\r", "\x1b\r", "\x7f", "\x1b[A", "\t",
)  # fmt: skip


class _Screen(pyte.Screen):
    """Answers when a program asks where the cursor is."""

    def __init__(self, columns: int, lines: int, *, reply: Callable[[str], None]) -> None:
        super().__init__(columns, lines)
        self._reply = reply

    def write_process_input(self, data: str) -> None:
        self._reply(data)


class PseudoTerminal:
    """`argv` are Python's own arguments; `encoding` is what the terminal speaks."""

    def __init__(
        self,
        *argv: str,
        columns: int = 80,
        lines: int = 40,
        encoding: str = "utf-8",
        **environ: str,
    ) -> None:
        self._encoding = encoding
        self.screen = _Screen(columns, lines, reply=self._reply)
        self._stream, self._lock = pyte.Stream(self.screen), threading.Lock()
        self.raw = b""
        self._master, slave = os.openpty()
        self._size(slave, columns, lines)
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _TAKE, sys.executable, *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **environ},
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def type(self, *keys: str | bytes) -> None:
        for key in keys:
            data = key if isinstance(key, bytes) else key.encode(self._encoding)
            os.write(self._master, data)

    def piecewise(self, text: str, pause: float = 0.02) -> None:
        """Type each byte by itself, as a slow line delivers them."""
        for byte in text.encode(self._encoding):
            os.write(self._master, bytes([byte]))
            time.sleep(pause)

    @property
    def shown(self) -> str:
        """What stands on the screen, lines without the blanks at their ends."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and line, from 0."""
        with self._lock:
            return self.screen.cursor.x, self.screen.cursor.y

    def wait_for(self, text: str, within: float = 60) -> str:
        """The screen as soon as `text` stands on it."""
        return self._wait(lambda: text in self.shown, f"{text!r} is not on the screen", within)

    def wait_until_gone(self, text: str, within: float = 60) -> str:
        return self._wait(lambda: text not in self.shown, f"{text!r} is still there", within)

    def wait_for_prompt(self, within: float = 60) -> str:
        """The screen as soon as its last line asks for words and nothing stands there."""
        return self._wait(lambda: self.shown.endswith("나>"), "no prompt", within)

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            self.screen.resize(lines, columns)
        self._size(self._master, columns, lines)  # the kernel sends SIGWINCH

    def code(self, within: float = 60) -> int:
        """The exit code."""
        code = self.popen.wait(within)
        self._reader.join()
        return code

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()
        self._reader.join()
        os.close(self._master)

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as a shell wants it."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # Linux's way to say that the other side has closed
                return
            if not data:
                return
            self.raw += data
            with self._lock:
                self._stream.feed(decoder.decode(data))

    def _reply(self, data: str) -> None:
        os.write(self._master, data.encode())

    def _size(self, descriptor: int, columns: int, lines: int) -> None:
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _wait(self, holds: Callable[[], bool], problem: str, within: float) -> str:
        end = time.monotonic() + within
        while not holds():
            if time.monotonic() > end or (self.popen.poll() is not None and not holds()):
                time.sleep(0.2)
                if holds():
                    break
                raise AssertionError(f"{problem}:\n{self.shown}")
            time.sleep(0.02)
        return self.shown
