"""What a person wants to know of a data set before training: counts, lengths, what is odd."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightkorllm.conversation import Conversation
from lightkorllm.data import encode
from lightkorllm.data.dataset import Dataset, Document, Item
from lightkorllm.data.preview import Preview, showable

_TOLD = 3  # repeats, longest rows and dropped rows that are named
_BARS = 8
_WIDEST = 30
_SCRIPTS = {
    "한글": re.compile("[가-힣ㄱ-ㆎ]+"),
    "로마자": re.compile("[A-Za-z]+"),
    "한자": re.compile("[一-鿿]+"),
    "가나": re.compile("[ぁ-ヿ]+"),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """How many lengths there are from `low` up to `high`; None is no bound."""

    low: int
    high: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in one number each."""

    minimum: int
    median: float
    mean: float
    p95: int
    maximum: int
    total: int


def measure(lengths: Sequence[int]) -> Lengths:
    """Of at least one length. The 95th percentile is a length that there is (nearest rank)."""
    ordered = sorted(lengths)
    return Lengths(
        minimum=ordered[0],
        median=statistics.median(ordered),
        mean=round(statistics.fmean(ordered), 1),
        p95=ordered[_rank(95, len(ordered))],
        maximum=ordered[-1],
        total=sum(ordered),
    )


def histogram(lengths: Sequence[int]) -> list[Bar]:
    """At most nine bars of one round width; the last one takes the few that are far longer."""
    ordered = sorted(lengths)
    usual = ordered[_rank(98, len(ordered))]
    width = _round_up(max(1, usual // _BARS + 1))
    last = min(usual, ordered[-1]) // width
    counts = [0] * (last + 1 + (ordered[-1] // width > last))
    for length in ordered:
        counts[min(length // width, len(counts) - 1)] += 1
    bounds: list[int | None] = [(at + 1) * width - 1 for at in range(len(counts))]
    if len(counts) > last + 1:
        bounds[-1] = None
    first = ordered[0] // width
    return [Bar(at * width, bounds[at], counts[at]) for at in range(first, len(counts))]


def dataset_lines(dataset: Dataset) -> list[str]:
    """What was read, Korean."""
    encoding = f", 인코딩: {dataset.encoding}" if dataset.encoding else ""
    lines = [
        f"데이터: {dataset.source}",
        f"형식: {dataset.format}{encoding}",
        f"행: {_rows(dataset)}",
        *(f"  {line}" for line in dataset.fault_report),
        f"내용: {_kinds(dataset.items)}",
        f"글자: {_shares(scripts(dataset.items))}",
    ]
    repeats = dataset.repeats
    if repeats:
        few = (f"{dataset.place(at)} = {dataset.place(first)}" for at, first in repeats[:_TOLD])
        etc = " …" if len(repeats) > _TOLD else ""
        lines.append(f"겹치는 것: {len(repeats):,}개 ({', '.join(few)}{etc})")
    return lines


def preview_lines(dataset: Dataset, preview: Preview) -> list[str]:
    """How long it is and what is dropped, Korean; `preview.rows` are not in it."""
    lengths = [length for _, length in preview.lengths]
    found, unit = measure(lengths), preview.unit
    lines = [
        f"프롬프트 형식: {preview.prompt_format}",
        f"길이({unit}): 최소 {found.minimum:,}, 중앙값 {found.median:,g}, 평균 {found.mean:,}, "
        f"95% {found.p95:,}, 최대 {found.maximum:,}",
        *(f"  {line}" for line in _drawn(histogram(lengths))),
        f"배우는 것: {preview.kept:,}개에서 {preview.learned:,}{unit}",
        *encode.told(preview.dropped, preview.literal_ends),
        *(f"  {dataset.place(drop.item)}: {drop.why}" for drop in preview.dropped[:_TOLD]),
    ]
    longest = sorted(preview.lengths, key=lambda pair: -pair[1])[:_TOLD]
    if len(lengths) > _TOLD:
        lines.append("가장 긴 것:")
        for item, length in longest:
            lines.append(
                f"  {dataset.place(item)} {length:,}{unit}: {beginning(dataset.items[item])}"
            )
    return lines


def as_json(dataset: Dataset, preview: Preview) -> dict[str, Any]:
    """The same for programs. Items are numbered from 0."""
    lengths = [length for _, length in preview.lengths]
    return {
        "source": dataset.source,
        "format": dataset.format,
        "encoding": dataset.encoding,
        "fingerprint": dataset.fingerprint,
        "items": len(dataset.items),
        "faults": [asdict(fault) for fault in dataset.faults],
        "scripts": scripts(dataset.items),
        "repeats": [{"item": at, "same_as": first} for at, first in dataset.repeats],
        "prompt_format": preview.prompt_format,
        "unit": {"토큰": "token", "자": "character"}[preview.unit],
        "lengths": asdict(measure(lengths)),
        "histogram": [asdict(bar) for bar in histogram(lengths)],
        "kept": preview.kept,
        "learned": preview.learned,
        "literal_ends": preview.literal_ends,
        "dropped": [asdict(drop) for drop in preview.dropped],
        "rows": [{**asdict(row), "parts": list(map(asdict, row.parts))} for row in preview.rows],
    }


def scripts(items: Sequence[Item]) -> dict[str, float]:
    """The shares of the scripts among the letters, the largest first; those not there left out."""
    texts = [_text(item) for item in items]
    counts = {
        name: sum(len(run) for text in texts for run in script.findall(text))
        for name, script in _SCRIPTS.items()
    }
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items() if count}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def beginning(item: Item, *, columns: int = 50) -> str:
    """How an item begins, in one line of at most that many columns of a terminal."""
    text = item.text if isinstance(item, Document) else item.turns[0].text
    shown, width = "", 0
    for char in re.sub(r"\s+", " ", showable(text.strip()[: 2 * columns])):
        width += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if width > columns:
            return shown + "…"
        shown += char
    return shown


def _text(item: Item) -> str:
    if isinstance(item, Document):
        return item.text
    return "\n".join((item.system, *(turn.text for turn in item.turns)))


def _rows(dataset: Dataset) -> str:
    usable, faulty = len(dataset.items), len(dataset.faults)
    if not faulty:
        return f"{usable:,}행을 모두 읽었습니다."
    return f"{usable + faulty:,}행 가운데 {faulty:,}행은 쓸 수 없어서 {usable:,}행을 읽었습니다."


def _kinds(items: Sequence[Item]) -> str:
    talks = [item for item in items if isinstance(item, Conversation)]
    answers = [sum(turn.role == "assistant" for turn in talk.turns) for talk in talks]
    parts = []
    if talks:
        several = sum(count > 1 for count in answers)
        more = f"(답이 여럿인 것 {several:,}개, 많게는 {max(answers):,}번)" if several else ""
        parts.append(f"대화 {len(talks):,}개{more}")
    if count := sum(bool(talk.system.strip()) for talk in talks):
        parts.append(f"지시문이 있는 것 {count:,}개")
    if count := len(items) - len(talks):
        parts.append(f"글 {count:,}개")
    return ", ".join(parts)


def _shares(shares: dict[str, float]) -> str:
    parts = (f"{name} {share:.1%}" for name, share in shares.items() if share >= 0.0005)
    return ", ".join(parts) or "없음"


def _drawn(bars: Sequence[Bar]) -> list[str]:
    """Bars stand last in their lines: a terminal may draw ■ one or two columns wide."""
    if len(bars) < 2:
        return []
    ranges = [f"{bar.low:,}~{'' if bar.high is None else f'{bar.high:,}'}" for bar in bars]
    counts = [f"{bar.count:,}" for bar in bars]
    left, right, most = max(map(len, ranges)), max(map(len, counts)), max(b.count for b in bars)
    return [
        f"{place:<{left}} {count:>{right}} {'■' * -(-_WIDEST * bar.count // most)}".rstrip()
        for place, count, bar in zip(ranges, counts, bars, strict=True)
    ]


def _rank(percent: int, count: int) -> int:
    return max(0, -(-percent * count // 100) - 1)


def _round_up(number: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 …"""
    step = int("1" + "0" * (len(str(number)) - 1))
    return next(step * factor for factor in (1, 2, 5, 10) if step * factor >= number)
