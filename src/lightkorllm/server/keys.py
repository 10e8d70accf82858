"""API keys: who a request comes from. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightkorllm.errors import OptionError, Unauthorized
from lightkorllm.options import ServeOptions

_NAME = re.compile(r"[\w.-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key's name, for limits and the log, and the SHA-256 of the key itself.

    Two keys may share a name: then they are one person's old and new key.
    """

    name: str
    digest: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise OptionError("--api_key", "키의 이름은 글자, 숫자, `_.-`로 64자까지입니다")

    @classmethod
    def of(cls, name: str, key: str) -> Key:
        return cls(name, hashlib.sha256(key.encode("utf-8")).digest())

    @property
    def line(self) -> str:
        """The key's line in a key file."""
        return f"{self.name} {self.digest.hex()}"


class Keys:
    """The API keys of a server; without any, everybody may come in."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def of(cls, options: ServeOptions) -> Keys:
        """The keys of the options and of the key file. Raises `OptionError` for a broken one."""
        told = [_told(text, number) for number, text in enumerate(options.api_key, start=1)]
        return cls([*told, *(_read(options.api_key_file) if options.api_key_file else ())])

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, authorization: str | None) -> str:
        """The name of the key that the header holds; "" where there are no keys.

        Raises `Unauthorized` when it holds none of them.
        """
        if not self._keys:
            return ""
        kind, _, token = (authorization or "").partition(" ")
        as_sent = token.strip(" \t").encode("latin-1", "replace")  # WSGI's text is bytes
        given = hashlib.sha256(as_sent).digest()
        matches = [hmac.compare_digest(given, key.digest) for key in self._keys]  # always all
        names = [key.name for key, same in zip(self._keys, matches, strict=True) if same]
        if kind.lower() != "bearer" or not names:
            raise Unauthorized
        return names[0]


def new(name: str) -> tuple[str, Key]:
    """A fresh key of 256 random bits, and what is kept of it."""
    key = f"lk-{secrets.token_urlsafe(32)}"
    return key, Key.of(name, key)


def _told(text: str, number: int) -> Key:
    """`name:key` or `key`: no bearer token of RFC 6750 has a colon. Never shows the key."""
    name, colon, key = text.partition(":")
    if not colon:
        name, key = f"key-{number}", text
    if not key.strip() or key != key.strip():
        raise OptionError("--api_key", f"{number}번째 키가 비었거나 앞뒤에 빈칸이 있습니다")
    return Key.of(name, key)


def _read(path: Path) -> Iterator[Key]:
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise OptionError(
            "--api_key_file", f"{path} 파일을 읽을 수 없습니다 ({error.strerror})"
        ) from None
    except UnicodeDecodeError:
        raise OptionError("--api_key_file", f"{path} 파일이 UTF-8이 아닙니다") from None
    keys = [
        _of_line(line.split(), f"{path}의 {number}번째 줄")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not keys:  # an empty file must not open the server
        raise OptionError("--api_key_file", f"{path} 파일에 키가 없습니다")
    yield from keys


def _of_line(words: list[str], place: str) -> Key:
    if len(words) != 2 or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1].lower()):
        raise OptionError(
            "--api_key_file",
            f"{place}은 `이름 SHA-256` 꼴이어야 합니다. `lightkorllm keys new`가 만들어 줍니다",
        )
    return Key(words[0], bytes.fromhex(words[1]))
