"""The texts that models are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightkorllm.data import corpus
from lightkorllm.errors import OptionError
from lightkorllm.evaluation.measure import Sample


def held_out() -> tuple[Sample, ...]:
    """The held-out parts of our own corpus: no passage of them was used for calibration."""
    return (
        Sample("내장 글", "ko", corpus.text("held_out", language="ko")),
        Sample("내장 글", "en", corpus.text("held_out", language="en")),
    )


def from_files(paths: Sequence[Path]) -> tuple[Sample, ...]:
    """Text files of the user's, UTF-8. Raises `OptionError`."""
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Sample:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError("--text", f"{path} 파일을 UTF-8로 읽을 수 없습니다 ({error})") from None
    hangul = sum("가" <= letter <= "힣" for letter in text)
    return Sample(path.stem, "ko" if hangul * 10 > len(text) else "en", text)
