"""Typing: a line editor that knows how wide Hangul is, with history and command names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "나> "
NEXT_LINE, WRAPPED = "  > ", "    "


class LineEditor:
    """Reads what the user says. Enter sends; Alt-Enter, or Enter after a backslash, does not."""

    def __init__(self, history: History, *, names: Sequence[str]) -> None:
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=_continuation,
            key_bindings=_keys(),
            completer=_Names(names),
            complete_while_typing=False,
            history=history,
        )
        self._session.default_buffer.on_text_insert += _compose

    def read(self) -> str:
        """What was typed, composed and without what is no character.

        Raises `EOFError` on Ctrl-D and `KeyboardInterrupt` on Ctrl-C.
        """
        typed = self._session.prompt()
        whole = typed.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return unicodedata.normalize("NFC", whole).strip()

    @property
    def was_empty(self) -> bool:
        """Whether nothing stood there when Ctrl-C was pressed."""
        return not self._session.default_buffer.text


def _continuation(width: int, line: int, wrapped: int) -> str:
    """What stands before a line of the user's own, or one that only the terminal broke."""
    return WRAPPED if wrapped else NEXT_LINE


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.char_before_cursor == "\\" and buffer.document.is_cursor_at_the_end:
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def next_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _compose(buffer: Buffer) -> None:
    """Jamo that come one by one, as macOS pastes them, become the syllable that they are."""
    composed = unicodedata.normalize("NFC", buffer.text)
    if composed != buffer.text:
        before = unicodedata.normalize("NFC", buffer.document.text_before_cursor)
        buffer.document = Document(composed, len(before))


class _Names(Completer):
    """Completes a command's name, and nothing in between words to the model."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        typed = document.text_before_cursor
        if typed.startswith("/") and " " not in typed:
            for name in self._names:
                if name.startswith(typed):
                    yield Completion(name, start_position=-len(typed))
