"""Which encoding a text file is in: UTF-8, UTF-16 with its mark, or CP949, the old Korean one."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from lightkorllm.errors import DataBroken

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLOCK = 1 << 20
_KOREAN = re.compile("[가-힣]{2}")


@dataclass(frozen=True, slots=True)
class _Break:
    """Where decoding failed. Damaged UTF-8 reads as Korean up to there; CP949 does not."""

    line: int
    after_korean: bool


def find(path: Path) -> str:
    """`utf-8`, `utf-8-sig`, `utf-16` or `cp949`: the one in which the whole file can be read.

    Without a mark, what is valid UTF-8 is UTF-8. CP949 includes EUC-KR; no other legacy encoding
    is guessed at. Raises `DataBroken` where the file is in none of them, or is not text.
    """
    with path.open("rb") as file:
        head = file.read(4)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    broken = _first_break(path, encoding)
    if broken is None:
        return encoding
    maybe_cp949 = encoding == "utf-8" and not broken.after_korean
    if maybe_cp949 and _first_break(path, "cp949") is None:
        return "cp949"
    known = "UTF-8, UTF-16, CP949" if maybe_cp949 else encoding.removesuffix("-sig").upper()
    raise DataBroken(
        f"{path} {broken.line:,}번째 줄을 읽을 수 없습니다: {known} 글이 아니거나 손상되었습니다. "
        "편집기에서 UTF-8로 다시 저장해 주세요."
    )


def _first_break(path: Path, encoding: str) -> _Break | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    line, korean = 1, False
    with path.open("rb") as file:
        block = b"start"
        while block:
            block = file.read(_BLOCK)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = error.object[: error.start]
                korean = korean or bool(_KOREAN.search(good.decode(encoding, "ignore")))
                return _Break(line + good.count(b"\n"), korean)
            if "\0" in text:
                raise DataBroken(
                    f"{path} 파일은 글이 아닙니다(NUL 바이트가 있습니다). "
                    "BOM 없는 UTF-16이나 UTF-32라면 UTF-8로 다시 저장해 주세요."
                )
            line += text.count("\n")
            korean = korean or bool(_KOREAN.search(text))
    return None
