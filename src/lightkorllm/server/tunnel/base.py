"""What every way to a public URL offers: `start(local, tell)`, in a file named after it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[str], None]  # says what is being done; each word starts the patience anew


class NoTunnel(Exception):
    """There is no public URL; the message is a Korean sentence with what to do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A public URL that answers, and the agent's process behind it."""

    url: str
    agent: subprocess.Popen[str]
