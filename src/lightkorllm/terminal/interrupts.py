"""The keyboard while an answer is running: Ctrl-C asks to stop, and nothing typed is echoed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Ctrl-C as a wish instead of an exception, which could arrive inside anything.

    The second Ctrl-C, of someone who won't wait, is a `KeyboardInterrupt` again.
    """

    def __init__(self) -> None:
        self.asked = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def caught() -> Generator[Interrupts, None, None]:
    """While it is open, Ctrl-C only sets `asked`."""
    interrupts = Interrupts()
    before = signal.signal(signal.SIGINT, interrupts._on_signal)
    try:
        with _silent_keyboard():
            yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def ending_on_signals() -> Generator[None, None, None]:
    """A closed window or a `kill` ends the program like `/끝`, and the terminal is left well."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), leave) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _silent_keyboard() -> Generator[None, None, None]:
    """What is typed meanwhile is not echoed into the answer; it waits for the next prompt."""
    try:
        import termios
    except ImportError:  # Windows does not echo by itself
        yield
        return
    try:
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
    except (OSError, termios.error):  # no terminal after all
        yield
        return
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(keyboard, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
