"""The bar of a long job stays on its line, whatever the width of the terminal."""

from __future__ import annotations

from collections.abc import Generator
from unicodedata import east_asian_width

import pytest

from lightkorllm.cli import _progress
from lightkorllm.progress import Step

NOTE = "손실 6.407, 떼어 둔 행 6.393, 학습률 2.0e-04, 초당 배운 토큰 381, 메모리 0.6 GB"


def _job() -> Generator[Step, None, str]:
    yield Step("train", 1, 3, 1.0, 2.0, NOTE)
    yield Step("train", 3, 3, 3.0, 0.0)
    return "다 됨"


@pytest.mark.parametrize("columns", [20, 41, 80, 200])
def test_a_line_fills_the_terminal_and_never_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert _progress.follow(_job(), {"train": "학습"}) == "다 됨"
    drawn = capsys.readouterr().err.rstrip("\n").split("\r")[1:]
    assert len(drawn) == 2
    widths = [sum(2 if east_asian_width(c) in "WF" else 1 for c in line) for line in drawn]
    assert widths == [columns - 1] * 2
    assert drawn[0].startswith("학습 ")
    assert (NOTE in drawn[0]) is (columns == 200)
