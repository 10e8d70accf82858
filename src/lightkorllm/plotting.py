"""Plots that can be read anywhere: Korean labels where this machine has a Korean font."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightkorllm.errors import MissingPackage

_FONTS = (
    "Pretendard", "Noto Sans KR", "Noto Sans CJK KR", "NanumGothic", "NanumBarunGothic",
    "Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "UnDotum", "Baekmuk Dotum",
)  # fmt: skip

BLUE, ORANGE, GREY = "#2f6fb2", "#d9822b", "#8a8f98"


@contextmanager
def figure(path: Path, *, rows: int = 1, columns: int = 1) -> Iterator[tuple[Any, bool]]:
    """Axes to draw on and whether Korean can be written on them; saved as PNG at the end.

    With several rows or columns, an array of axes. Raises `MissingPackage` without matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingPackage("그림을 그리는 matplotlib이", extra="gptq") from None
    font = korean_font()
    with rc_context(_look(font)):
        drawing = Figure(figsize=(5.2 * columns, 3.6 * rows), layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing.subplots(rows, columns), font is not None
        drawing.savefig(path, dpi=144)


@functools.cache
def korean_font() -> str | None:
    """The name of a font on this machine that can write Hangul; None where there is none."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in _FONTS if name in known), None)


def _look(font: str | None) -> Any:
    return {
        "font.family": [font, "DejaVu Sans"] if font else ["DejaVu Sans"],
        "axes.unicode_minus": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e8eb",
        "font.size": 10,
    }
