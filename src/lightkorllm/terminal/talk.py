"""What has been said in a terminal, with the answers that were stopped marked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lightkorllm.conversation import Conversation, Role, Turn
from lightkorllm.errors import DataBroken


@dataclass(frozen=True, slots=True)
class Entry:
    """One side's words; `stopped` answers did not come to their own end."""

    role: Role
    text: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Talk:
    """A system text and entries. Nothing is ever changed in place."""

    system: str = ""
    entries: tuple[Entry, ...] = ()

    def add(self, role: Role, text: str, *, stopped: bool = False) -> Talk:
        return replace(self, entries=(*self.entries, Entry(role, text, stopped)))

    @property
    def conversation(self) -> Conversation:
        """The same for those who answer."""
        return Conversation(self.system, tuple(Turn(e.role, e.text) for e in self.entries))

    @property
    def question(self) -> str | None:
        """What the user asked last."""
        return next((e.text for e in reversed(self.entries) if e.role == "user"), None)

    def without_last(self) -> Talk:
        """Without the user's last question and what came after it."""
        asked = [place for place, entry in enumerate(self.entries) if entry.role == "user"]
        return replace(self, entries=self.entries[: asked[-1]] if asked else ())

    def messages(self) -> list[dict[str, Any]]:
        """OpenAI's messages; a stopped one also has `"stopped": true`, which others overlook."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return system + [
            {"role": e.role, "content": e.text, **({"stopped": True} if e.stopped else {})}
            for e in self.entries
        ]

    @classmethod
    def of_messages(cls, messages: Any) -> Talk:
        """Raises `DataBroken` with the message's number where one is none."""
        if not isinstance(messages, list):
            raise DataBroken("`messages`가 목록이 아닙니다.")
        talk = cls()
        for number, message in enumerate(messages):
            role, text = _read(message, f"messages[{number}]")
            if role in ("system", "developer"):
                talk = replace(talk, system="\n\n".join(p for p in (talk.system, text) if p))
            else:
                side: Role = "user" if role == "user" else "assistant"
                talk = talk.add(side, text, stopped=message.get("stopped") is True)
        return talk


def _read(message: Any, place: str) -> tuple[str, str]:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise DataBroken(f"`{place}.role`: {', '.join(_ROLES)} 중 하나여야 합니다.")
    content = message.get("content")
    if not isinstance(content, str):
        raise DataBroken(f"`{place}.content`: 글이어야 합니다.")
    return message["role"], content


_ROLES = ("system", "developer", "user", "assistant")
