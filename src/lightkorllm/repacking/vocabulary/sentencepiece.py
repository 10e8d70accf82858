"""SentencePiece-like BPE with byte tokens (Llama 2, Gemma), as llama.cpp's `llama` vocabulary.

llama.cpp joins the two neighbours whose union has the highest score; Hugging Face the pair with
the lowest rank. Both are the same when every way to make a token has its ranks side by side, and
every pair that makes a token is a rule. Scores are then the order in which tokens are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightkorllm.repacking.vocabulary.source import Source

_SPACE = "▁"


def add_space_prefix(source: Source) -> bool:
    """Whether a space is put before the text. Raises `ModelBroken` for unknown steps."""
    if not source.model.get("byte_fallback"):
        raise source.refusal("바이트 토큰이 없는 BPE")
    prefixes, spaces = False, False
    for step in source.steps("normalizer"):
        if step.get("type") == "Prepend" and step.get("prepend") == _SPACE:
            prefixes = True
        elif _replaces_spaces(step):
            spaces = True
        elif step.get("type") != "NFC":
            raise source.refusal(f"정규화 단계 {step.get('type')}")
    for step in source.steps("pre_tokenizer"):
        if step.get("type") == "Metaspace" and step.get("replacement") == _SPACE:
            spaces = True
            prefixes = step.get("prepend_scheme", "always") != "never"
            if step.get("split", True) and _spans_words(source):
                raise source.refusal("Metaspace로 나눈 낱말에 걸친 토큰")
        elif not _splits_at_no_place(step):
            raise source.refusal(f"낱말을 나누는 단계 {step.get('type')}")
    if not spaces:
        raise source.refusal("빈칸을 ▁로 바꾸지 않는 BPE")
    return prefixes


def is_byte(text: str) -> bool:
    """Whether a token stands for one byte: `<0x0A>`."""
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def notes(source: Source) -> list[str]:
    """Where llama.cpp may cut otherwise, in Korean."""
    found = []
    if any(step.get("prepend_scheme") == "first" for step in source.steps("pre_tokenizer")):
        found.append(
            "llama.cpp는 글 처음뿐 아니라 특수 토큰 바로 뒤의 글에도 빈칸을 하나 넣습니다."
        )
    if any(step.get("type") == "NFC" for step in source.steps("normalizer")):
        found.append("llama.cpp는 글을 NFC로 바꾸지 않으므로, 자모가 풀린 글은 토큰이 다릅니다.")
    if count := deviations(source):
        found.append(
            f"토크나이저의 병합 규칙 {count:,}개는 llama.cpp의 방식으로 나타낼 수 없어, "
            "드물게 토큰이 다르게 나뉠 수 있습니다."
        )
    return found


def scores(source: Source) -> dict[str, float]:
    """Score of each token that merging can make: the later it is made, the lower."""
    order: dict[str, float] = {}
    for left, right in source.merges():
        order.setdefault(left + right, -float(len(order)))
    return order


def deviations(source: Source) -> int:
    """How many rules llama.cpp would apply in another order, or has beyond the tokenizer's."""
    rules = source.merges()
    made: dict[str, int] = {}
    apart = 0
    for rank, (left, right) in enumerate(rules):
        token = left + right
        apart += made.get(token, rank - 1) != rank - 1
        made[token] = rank
    added = {token.text for token in source.added()}
    known, pairs = source.vocab, set(rules)
    return apart + sum(
        (token[:cut], token[cut:]) not in pairs
        for token in known
        if token not in added
        for cut in range(1, len(token))
        if _symbol(token[:cut], known) and _symbol(token[cut:], known)
    )


def _symbol(text: str, known: Mapping[str, int]) -> bool:
    return len(text) == 1 or text in known


def _spans_words(source: Source) -> bool:
    """Whether merging could make a token that goes beyond a word, were words not cut apart."""
    added = {token.text for token in source.added()}
    return any(_SPACE in token[1:] for token in source.vocab if token not in added)


def _replaces_spaces(step: Mapping[str, Any]) -> bool:
    pattern = (step.get("pattern") or {}).get("String")
    return step.get("type") == "Replace" and pattern == " " and step.get("content") == _SPACE


def _splits_at_no_place(step: Mapping[str, Any]) -> bool:
    """Gemma splits at spaces, of which its normalizer has left none."""
    pattern = (step.get("pattern") or {}).get("String")
    return step.get("type") == "Split" and pattern == " "
