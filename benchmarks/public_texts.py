"""Texts that nobody wrote for this project, from packages: to calibrate a rival, and to measure on.

Korean: the constitution and ten bills that `konlpy` ships. English: Python's own help topics, and
the news articles (Lee corpus) that `gensim` ships. The packages are only files to us.
"""

from __future__ import annotations

import importlib
import json
from importlib.util import find_spec
from pathlib import Path

from lightkorllm.evaluation import Sample

_NEWS_HELD_OUT = 30  # the last articles, which no calibration sees


def korean() -> tuple[Sample, ...]:
    """The constitution, and the beginnings of ten bills one behind the other."""
    corpus = _package("konlpy") / "data" / "corpus"
    law = (corpus / "kolaw" / "constitution.txt").read_text(encoding="utf-8")
    bills = sorted((corpus / "kobill").glob("*.txt"))
    begun = "\n".join(bill.read_text(encoding="utf-8")[:1500] for bill in bills)
    return Sample("constitution", "ko", law), Sample("bills", "ko", begun)


def english() -> tuple[Sample, ...]:
    """Python's help topics, and news articles."""
    topics = importlib.import_module("pydoc_data.topics").topics
    text = "\n".join(topics[name] for name in sorted(topics))
    return (
        Sample("python help", "en", text),
        Sample("news", "en", "\n".join(_news()[-_NEWS_HELD_OUT:])),
    )


def write_english_calibration(path: Path) -> Path:
    """News articles as a data set to calibrate on: what tools take by default is English too."""
    rows = (json.dumps({"text": article}) for article in _news()[:-_NEWS_HELD_OUT])
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _news() -> list[str]:
    file = _package("gensim") / "test" / "test_data" / "lee_background.cor"
    return file.read_text(encoding="utf-8", errors="replace").splitlines()


def _package(name: str) -> Path:
    """Where a package's files lie, without importing it: its own needs aren't installed."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed: pip install --no-deps {name}")
    return Path(spec.submodule_search_locations[0])
