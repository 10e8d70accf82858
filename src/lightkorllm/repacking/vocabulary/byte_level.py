"""Byte-level BPE (GPT-2's kind): which of llama.cpp's ways to cut words is the tokenizer's own.

llama.cpp has fixed cuts with names (`tokenizer.ggml.pre`, src/llama-vocab.cpp). The name is chosen
from the structure of tokenizer.json, and a structure that none of them equals is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightkorllm.repacking.vocabulary.source import Source

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
_LLAMA3 = _CONTRACTIONS + _WORDS + r"|\p{N}{1,3}" + _SIGNS + _TAIL
_QWEN2 = _CONTRACTIONS + _WORDS + r"|\p{N}" + _SIGNS + _TAIL
_QWEN35 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _TAIL
)
_TEKKEN = (
    f"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)
_GPT4O = (
    f"{_START}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_START}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _TAIL
)
_DIGIT = "digit"

# (cuts, whether a word that is a token needs no merging) → llama.cpp's name
_NAMES: dict[tuple[tuple[str, ...], bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGIT, _GPT2), False): "smollm",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "smaug-bpe",
    ((_QWEN2,), False): "qwen2",
    ((_QWEN35,), False): "qwen35",
    ((_TEKKEN,), True): "tekken",
    ((_GPT4O,), False): "gpt-4o",
}


def is_byte_level(source: Source) -> bool:
    return any(step.get("type") == "ByteLevel" for step in source.steps("pre_tokenizer"))


def pre_tokenizer(source: Source) -> str:
    """llama.cpp's name of the cuts. Raises `ModelBroken` where it has no equal ones."""
    steps = source.steps("pre_tokenizer")
    if any(step.get("add_prefix_space") for step in steps):
        raise source.refusal("앞에 빈칸을 넣는 ByteLevel")
    cuts = tuple(cut for step in steps for cut in _cuts(source, step))
    name = _NAMES.get((cuts, bool(source.model.get("ignore_merges"))))
    if name is None:
        raise source.refusal(f"낱말을 나누는 규칙 {' / '.join(cuts)}")
    return name


def notes(source: Source) -> list[str]:
    """What the tokenizer does to a text before cutting and llama.cpp does not, in Korean."""
    kinds = {str(step.get("type")) for step in source.steps("normalizer")}
    if not kinds:
        return []
    if kinds != {"NFC"}:
        raise source.refusal(f"정규화 단계 {', '.join(sorted(kinds))}")
    return [
        "이 토크나이저는 글을 NFC로 바꾼 뒤 자릅니다. llama.cpp는 그러지 않으므로, 자모가 풀린 "
        "글(NFD)은 NFC로 바꾸어 보내야 토큰이 같습니다."
    ]


def merges(source: Source) -> list[str]:
    """Merge rules in GGUF's spelling: two parts and a space between."""
    return [f"{_visible(left)} {_visible(right)}" for left, right in source.merges()]


def _visible(part: str) -> str:
    return part.replace(" ", "Ġ")


def _cuts(source: Source, step: Mapping[str, Any]) -> list[str]:
    kind = step.get("type")
    if kind == "ByteLevel":
        return [_GPT2] if step.get("use_regex", True) else []
    if kind == "Digits" and step.get("individual_digits"):
        return [_DIGIT]
    pattern = (step.get("pattern") or {}).get("Regex")
    apart = step.get("behavior") == "Isolated" or (
        step.get("behavior") == "Removed" and step.get("invert")
    )
    if kind != "Split" or pattern is None or not apart:
        raise source.refusal(f"낱말을 나누는 단계 {kind}")
    return [_DIGIT] if pattern in (r"\p{N}", r"\d") else [_normal(pattern)]


def _normal(pattern: str) -> str:
    """Other spellings of the same cuts: `\\p{N}{1}`, a lone group around all, `\\s+$`."""
    return str(pattern).replace(r"\p{N}{1}", r"\p{N}")
