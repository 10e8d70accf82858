"""A comparison of two models told three ways: JSON for programs, a table for people, a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lightkorllm import plotting
from lightkorllm.evaluation.measure import Measured

_NAMES = {"ko": "한국어", "en": "영어"}


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured of model `a` and perhaps of `b`. `facts` are further numbers."""

    a: str
    b: str
    rows: Sequence[Measured]
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, str] = ("원본", "양자화")

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(row), "ratio": row.ratio} for row in self.rows]
        return {"a": self.a, "b": self.b or None, "samples": rows, "facts": dict(self.facts)}

    def table(self) -> str:
        """A Markdown table, Korean."""
        if not self.b:
            return _table(
                ("글", "토큰", "퍼플렉시티", "바이트당 비트"),
                [_one(row) for row in self.rows],
            )
        return _table(
            (
                "글",
                "토큰",
                f"{self.labels[0]} 퍼플렉시티",
                self.labels[1],
                "배",
                "바이트당 비트",
                "KL(nat)",
                "1순위 일치",
            ),
            [_both(row) for row in self.rows],
        )


def write(report: Report, folder: Path, *, stem: str = "report") -> tuple[Path, ...]:
    """Write `report.json`, `report.md` and, where two models were compared, `report.png`."""
    written = [folder / f"{stem}.json", folder / f"{stem}.md"]
    text = json.dumps(report.as_json(), ensure_ascii=False, indent=2)
    written[0].write_text(text + "\n", encoding="utf-8")
    written[1].write_text(report.table() + "\n", encoding="utf-8")
    if report.b:
        written.append(folder / f"{stem}.png")
        _plot(report, written[-1])
    return tuple(written)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _one(row: Measured) -> list[str]:
    return [
        _name(row),
        f"{row.a.tokens:,}",
        f"{row.a.perplexity:.2f}",
        f"{row.a.bits_per_byte:.3f}",
    ]


def _both(row: Measured) -> list[str]:
    assert row.b is not None
    assert row.drift is not None
    return [
        _name(row),
        f"{row.a.tokens:,}",
        f"{row.a.perplexity:.2f}",
        f"{row.b.perplexity:.2f}",
        f"{row.ratio:.3f}",
        f"{row.a.bits_per_byte:.3f} → {row.b.bits_per_byte:.3f}",
        f"{row.drift.kl_divergence:.4f}",
        f"{row.drift.top1_agreement:.1%}",
    ]


def _name(row: Measured) -> str:
    return f"{row.sample} ({_NAMES.get(row.language, row.language)})"


def _plot(report: Report, path: Path) -> None:
    rows = [row for row in report.rows if row.b and row.drift]
    with plotting.figure(path, columns=2) as ((left, right), korean):
        names = report.labels if korean else (report.a, report.b)
        texts = [_name(row) if korean else _english(row) for row in rows]
        places = list(range(len(rows)))
        left.bar([x - 0.2 for x in places], [row.a.perplexity for row in rows], 0.38,
                 color=plotting.GREY, label=names[0])  # fmt: skip
        left.bar([x + 0.2 for x in places], [row.b.perplexity for row in rows if row.b], 0.38,
                 color=plotting.BLUE, label=names[1])  # fmt: skip
        left.set_title("퍼플렉시티 (낮을수록 좋음)" if korean else "perplexity (lower is better)")
        left.legend(frameon=False)
        right.bar(places, [100 * row.drift.top1_agreement for row in rows if row.drift], 0.5,
                  color=plotting.ORANGE)  # fmt: skip
        right.set_ylim(0, 100)
        right.set_title("1순위 토큰 일치 (%)" if korean else "equal first choice (%)")
        for axes in (left, right):
            axes.set_xticks(places, texts)


def _english(row: Measured) -> str:
    return f"{row.sample if row.sample.isascii() else 'text'} ({row.language})"
