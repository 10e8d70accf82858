"""Row formats by name. Each is one file here that offers `FORMAT`, a `RowFormat`."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from lightkorllm.data.formats.base import Cells, RowFormat
from lightkorllm.errors import OptionError


def names() -> tuple[str, ...]:
    """Every format there is, in alphabetical order: the files beside this one, but for `base`."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


@cache
def known() -> tuple[RowFormat, ...]:
    """Every format, the highest rank first."""
    formats = [import_module(f"{__name__}.{name}").FORMAT for name in names()]
    return tuple(sorted(formats, key=lambda form: form.rank, reverse=True))


def get(name: str) -> RowFormat:
    """The format of that name. Raises `OptionError` where there is none."""
    for form in known():
        if form.name == name:
            return form
    raise OptionError(
        "format",
        f"{name!r}이라는 데이터 형식은 없습니다. 쓸 수 있는 형식: auto, {', '.join(names())}",
    )


def find(rows: Sequence[Cells]) -> RowFormat | None:
    """The format of these rows: the highest in rank of those that match well.

    That is half as many rows as the one that matches most: a few broken rows change nothing, and
    a column that stands beside (the `text` of Stanford's Alpaca) does not win over the rows' own.
    """
    counts = {form: sum(map(form.matches, rows)) for form in known()}
    most = max(counts.values())
    if not most:
        return None
    return next(form for form, count in counts.items() if count * 2 >= most)
