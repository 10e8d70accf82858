"""What was typed before, kept for the next time in a file that others can't read."""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

FILE_NAME = "chat_history"


def state_folder() -> Path:
    """Where this user's programs keep what they did."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "lightkorllm"


class _CarefulHistory(FileHistory):
    """A full disk or a lost folder costs the history, not the conversation."""

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError:
            return


def open_history(folder: Path | None = None) -> History:
    """The history file, or one in memory where no file can be had."""
    try:
        path = (folder or state_folder()) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except (OSError, RuntimeError):  # a home that can't be told is a RuntimeError
        return InMemoryHistory()
    return _CarefulHistory(str(path))
