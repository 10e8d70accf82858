"""A verdict for people, and for programs."""

from __future__ import annotations

from typing import Any

from lightkorllm import memory
from lightkorllm.fitting import verdict as verdicts
from lightkorllm.fitting.verdict import Verdict


def lines(found: Verdict) -> list[str]:
    """What was found, Korean, one fact a line."""
    model, place, shape = found.model, found.place, found.model.shape
    widest = max(_columns(part.name) for part in found.parts)
    table = [
        f"  {part.name}{' ' * (widest - _columns(part.name))}  {memory.text(part.size):>8}  "
        f"{part.reason}".rstrip()
        for part in found.parts
    ]
    loaded = [] if found.loaded is None else [f"올렸을 때: {memory.text(found.loaded)}"]
    spare = f", 꼭 있어야 하는 것은 {memory.text(found.needed)}" if found.spare else ""
    return [
        f"모델: {model.name} ({model.model_type}, {verdicts.described(model)})",
        f"크기: 층 {shape.layers}개, 너비 {shape.hidden:,}, 머리 {shape.heads}개(KV "
        f"{shape.kv_heads}개), 어휘 {shape.vocabulary:,}, 문맥 {_or_unknown(shape.context)}",
        f"자리: {place.name}, {memory.text(place.total)} 가운데 {memory.text(place.free)} 남음",
        f"방법: {found.how}",
        *table,
        *loaded,
        f"많을 때: {memory.text(found.total)}{spare} (쓸 수 있는 것 {memory.text(place.room)})",
        "",
        *_answer(found),
        *(f"참고: {note}" for note in found.notes),
    ]


def _answer(found: Verdict) -> list[str]:
    longest = "문맥" if found.loaded is not None else "행(한 번에 하나씩)"
    told = [f"들어가는 가장 긴 {longest}: {found.longest:,}토큰"] if found.longest else []
    if found.fits:
        return ["들어갑니다.", *told, f"해 보기: {found.command}"]
    changes = [f"  {change.words} → {memory.text(change.total)}" for change in found.changes]
    models = ", ".join(found.smaller)
    return [
        f"들어가지 않습니다: {memory.text(found.needed - found.place.room)} 모자랍니다.",
        *(["이렇게 바꾸면 들어갑니다:", *changes] if changes else []),
        *([f"4비트로 들어가는 모델: {models}"] if models else []),
        *told,
    ]


def as_json(found: Verdict) -> dict[str, Any]:
    """The same for programs; sizes in bytes."""
    model, place = found.model, found.place
    return {
        "model": model.name,
        "model_type": model.model_type,
        "parameters": model.shape.parameters,
        "place": {"kind": place.kind, "name": place.name, "total": place.total,
                  "free": place.free, "room": place.room},
        "how": found.how,
        "parts": {part.name: part.size for part in found.parts},
        "loaded": found.loaded,
        "total": found.total,
        "needed": found.needed,
        "fits": found.fits,
        "longest": found.longest,
        "changes": [{"words": change.words, "total": change.total} for change in found.changes],
        "smaller": list(found.smaller),
        "command": found.command,
        "notes": list(found.notes),
    }  # fmt: skip


def _or_unknown(context: int) -> str:
    return f"{context:,}토큰" if context else "모름"


def _columns(text: str) -> int:
    """Columns of a terminal: Hangul takes two."""
    return sum(2 if "가" <= letter <= "힣" else 1 for letter in text)
