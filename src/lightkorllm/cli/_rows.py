"""The first rows of a data set on a terminal, with what is learned marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.data import Dataset
    from lightkorllm.data.preview import Preview


def show(dataset: Dataset, preview: Preview) -> None:
    """The first rows: on a terminal what is learned is green, elsewhere it stands in `[[…]]`."""
    if not preview.rows:
        return
    from rich.console import Console
    from rich.text import Text

    from lightkorllm.data.preview import showable

    console = Console(highlight=False, markup=False, emoji=False)
    coloured = console.is_terminal and console.color_system is not None and not console.no_color
    how = "초록 글자를" if coloured else "[[ ]] 안을"
    print(f"\n모델이 보는 글({how} 배웁니다):")
    for row in preview.rows:
        print(f"\n--- {dataset.place(row.item)}, {row.length:,}{preview.unit}")
        if not coloured:
            print(row.text)
            continue
        parts = ((showable(part.text), "green" if part.learned else "") for part in row.parts)
        console.print(Text.assemble(*parts), soft_wrap=True)
