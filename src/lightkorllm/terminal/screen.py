"""What is shown: answers as they come, quiet notes, errors, and two answers side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_NARROW = 60  # columns below which two answers stand one under the other

# All that a terminal could obey, but for the line feed and the tab.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def showable(text: str) -> str:
    """A text with nothing in it that a terminal would obey: models repeat what they have read."""
    return text.translate(_CONTROLS)


class Screen:
    """Standard output. A character that it has no room for is shown as `?`."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._status = 0

    def say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(Text(showable(line)))

    def rows(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names in a column of their own."""
        table = Table.grid(padding=(0, 2))
        for name, meaning in rows:
            table.add_row(Text(showable(name)), Text(showable(meaning)))
        self._console.print(table)

    def note(self, text: str) -> None:
        """Something beside the conversation."""
        self._console.print(Text(showable(text), style="dim"))

    def error(self, text: str) -> None:
        self._console.print(Text(f"오류: {showable(text)}", style="red"))

    def piece(self, text: str) -> None:
        """The next piece of an answer, at once."""
        sys.stdout.write(showable(text))
        sys.stdout.flush()

    def status(self, text: str) -> None:
        """What is going on, in a line that the next one replaces; "" takes it away."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            return
        sys.stdout.write(f"\r{' ' * self._status}\r{text}")
        sys.stdout.flush()
        self._status = Text(text).cell_len

    def side_by_side(self, answers: Sequence[tuple[str, str, str]]) -> None:
        """Answers with a title above and a note below each."""
        if self._console.width < _NARROW:
            for title, text, note in answers:
                self.say(f"[{title}]", text)
                self.note(f"[{note}]")
            return
        table = Table(box=box.SQUARE, expand=True, show_footer=True)
        for title, _, note in answers:
            table.add_column(Text(title), footer=Text(note, style="dim"), ratio=1)
        table.add_row(*(Text(showable(text)) for _, text, _ in answers))
        self._console.print(table)
