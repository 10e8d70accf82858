"""Where log lines go when a command runs: stderr, one plain line each."""

from __future__ import annotations

import logging
import sys


def to_stderr(level: str) -> None:
    """Our own lines from `level` up, other libraries' from warning up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("lightkorllm").setLevel(level.upper())
