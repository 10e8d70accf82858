"""Conversations in files: JSON with OpenAI's messages, which `lightkorllm data` reads too."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

from lightkorllm.errors import DataBroken
from lightkorllm.terminal.talk import Talk


def path_of(text: str) -> Path:
    """The file that a user names, quotes and `~` as in a shell; without one a name by the time."""
    name = text.strip().strip("\"'") or f"대화-{datetime.now():%Y%m%d-%H%M%S}"
    path = Path(name).expanduser()
    return path if path.suffix else path.with_name(path.name + ".json")


def save(talk: Talk, path: Path) -> None:
    """Write under another name and rename, so that an earlier file is never half overwritten."""
    text = json.dumps({"messages": talk.messages()}, ensure_ascii=False, indent=2) + "\n"
    draft = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".대화-", suffix=".part")
        draft = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        draft.replace(path)
    except OSError as error:
        raise DataBroken(f"{path} 파일에 적을 수 없습니다 ({error.strerror}).") from None
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def load(path: Path) -> Talk:
    """The conversation in a file: an object with `messages`, or the list of them."""
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataBroken(f"{path} 파일을 읽을 수 없습니다 ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise DataBroken(f"{path} 파일이 UTF-8로 적은 JSON이 아닙니다.") from None
    try:
        return Talk.of_messages(told.get("messages") if isinstance(told, dict) else told)
    except DataBroken as error:
        raise DataBroken(f"{path} 파일은 대화가 아닙니다: {error.message}") from None
