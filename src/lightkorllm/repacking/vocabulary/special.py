"""Which tokens begin, end and pad a text, and the chat templates."""

from __future__ import annotations

from typing import Any

import gguf

from lightkorllm.checkpoint import read_json
from lightkorllm.repacking.vocabulary.source import Source


def describe(source: Source, writer: gguf.GGUFWriter, numbers: dict[str, int]) -> None:
    """Write special tokens and templates; of several end tokens llama.cpp knows three."""
    bos = _number(source, "bos_token", numbers)
    before, after = _template(source)
    ends = _ends(source, numbers)
    if isinstance(before, str):
        bos = numbers.get(before, bos)
    if bos is not None:
        writer.add_bos_token_id(bos)
    if ends:
        writer.add_eos_token_id(ends[0])
    for number, add in zip(
        ends[1:], (writer.add_eot_token_id, writer.add_eom_token_id), strict=False
    ):
        add(number)
    _describe_rest(source, writer, numbers)
    writer.add_add_bos_token(bool(before) and bos is not None)
    writer.add_add_eos_token(bool(after) and bool(ends))
    _describe_templates(source, writer)


def _describe_rest(source: Source, writer: gguf.GGUFWriter, numbers: dict[str, int]) -> None:
    kinds = {
        "unk_token": writer.add_unk_token_id,
        "pad_token": writer.add_pad_token_id,
        "mask_token": writer.add_mask_token_id,
    }
    for name, add in kinds.items():
        number = _number(source, name, numbers)
        if number is not None:
            add(number)


def _number(source: Source, name: str, numbers: dict[str, int]) -> int | None:
    """The id of a named token: by tokenizer_config.json, then by config.json."""
    named = source.settings.get(name)
    text = named.get("content") if isinstance(named, dict) else named
    if isinstance(text, str):
        return numbers.get(text)
    number = source.config.get(f"{name}_id")
    if isinstance(number, list):
        number = number[0] if number else None
    return number if isinstance(number, int) and 0 <= number < source.size else None


def _ends(source: Source, numbers: dict[str, int]) -> list[int]:
    """End tokens, the tokenizer's own first and then those that generation stops at."""
    first = _number(source, "eos_token", numbers)
    more = source.generation.get("eos_token_id", source.config.get("eos_token_id"))
    listed = more if isinstance(more, list) else [more]
    found = [first, *listed]
    return list(dict.fromkeys(n for n in found if isinstance(n, int) and 0 <= n < source.size))


def _template(source: Source) -> tuple[str | bool, str | bool]:
    """What is put before and after a text: a token's text, or whether there is any.

    tokenizer_config.json's add_bos_token and add_eos_token win, as they do in transformers.
    """
    before, after = _around(source)
    settings = source.settings
    if settings.get("add_bos_token") is not None or settings.get("add_eos_token") is not None:
        return bool(settings.get("add_bos_token")), bool(settings.get("add_eos_token"))
    return before, after


def _around(source: Source) -> tuple[str, str]:
    before: list[str] = []
    after: list[str] = []
    for step in _processors(source.file.get("post_processor")):
        if step.get("type") != "TemplateProcessing":
            continue
        seen = False
        for piece in step.get("single") or []:
            seen |= "Sequence" in piece
            if "SpecialToken" in piece:
                (after if seen else before).append(str(piece["SpecialToken"]["id"]))
    if len(before) > 1 or len(after) > 1:
        raise source.refusal(f"글 앞뒤에 붙는 토큰 {before + after}")
    return "".join(before), "".join(after)


def _processors(step: Any) -> list[dict[str, Any]]:
    if not step:
        return []
    return step["processors"] if step.get("type") == "Sequence" else [step]


def _describe_templates(source: Source, writer: gguf.GGUFWriter) -> None:
    template: Any = source.settings.get("chat_template")
    template = read_json(source.folder / "chat_template.json").get("chat_template", template)
    file = source.folder / "chat_template.jinja"
    if file.is_file():
        template = file.read_text(encoding="utf-8")
    if template:
        writer.add_chat_template(template)
