"""Tokenizers: special tokens as declared, and structures that llama.cpp has not are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelBroken
from lightkorllm.repacking import vocabulary
from lightkorllm.repacking.vocabulary import source as tokenizers
from lightkorllm.repacking.vocabulary import special
from lightkorllm.repacking.vocabulary.source import Source
from repacking import families

Edit = Callable[[dict[str, Any]], None]


def _source(folder: Path, kind: str, *, edit: Edit | None = None, size: int = 0) -> Source:
    families.tokenizer(kind, folder)
    path = folder / "tokenizer.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    if edit:
        edit(state)
    path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    config = {"bos_token_id": 1, "eos_token_id": 2}
    return tokenizers.read(
        Checkpoint(folder, config, (), {}), size=size or len(state["model"]["vocab"]) + 1
    )


class _Told:
    """Stands where the writer stands, and remembers what was said."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        return lambda value: self.values.__setitem__(name.removeprefix("add_"), value)


def _told(source: Source) -> dict[str, Any]:
    told: Any = _Told()
    vocabulary.describe(source, told)
    return dict(told.values)


@pytest.mark.parametrize("kind", [*families.PATTERNS, "gpt-2", "smollm"])
def test_the_cut_is_known_by_its_structure(tmp_path: Path, kind: str) -> None:
    assert _told(_source(tmp_path, kind))["tokenizer_pre"] == kind


def _cut(pattern: str) -> Edit:
    def edit(state: dict[str, Any]) -> None:
        state["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": pattern}

    return edit


def _set(key: str, value: Any) -> Edit:
    return lambda state: state.__setitem__(key, value)


@pytest.mark.parametrize(
    ("kind", "edit", "word"),
    [
        ("qwen2", _cut(r"\w+|\s+"), r"\\w\+"),
        ("llama-bpe", lambda state: state["model"].update(ignore_merges=False, x=1), None),
        ("qwen2", lambda state: state["model"].update(ignore_merges=True), "나누는 규칙"),
        ("qwen2", _set("normalizer", {"type": "Lowercase"}), "Lowercase"),
        ("gemma", _set("normalizer", None), "빈칸"),
        ("gemma", lambda state: state["model"].update(byte_fallback=False), "바이트"),
        ("qwen2", lambda state: state["model"].update(type="Unigram"), "Unigram"),
        ("gpt-2", _set("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True}), "빈칸"),
    ],
)
def test_structures_without_an_equal_are_refused(
    tmp_path: Path, kind: str, edit: Edit, word: str | None
) -> None:
    if word is None:
        assert _told(_source(tmp_path, kind, edit=edit))["tokenizer_pre"] == "smaug-bpe"
        return
    with pytest.raises(ModelBroken, match=word):
        _all_that_is_read(tmp_path, kind, edit)


def _all_that_is_read(folder: Path, kind: str, edit: Edit) -> None:
    source = _source(folder, kind, edit=edit)
    vocabulary.notes(source)
    _told(source)


def test_token_types_say_what_each_token_is(tmp_path: Path) -> None:
    told = _told(_source(tmp_path, "gemma", size=1200))
    types = dict(zip(told["token_list"], map(gguf.TokenType, told["token_types"]), strict=True))
    assert types["<s>"] == types["<|user|>"] == gguf.TokenType.CONTROL
    assert types["<표>"] == gguf.TokenType.USER_DEFINED
    assert types["<0x0A>"] == gguf.TokenType.BYTE
    assert types["는"] == gguf.TokenType.NORMAL
    assert types["[PAD1199]"] == gguf.TokenType.UNUSED
    assert len(types) == 1200


def test_tokens_beyond_the_embedding_are_left_out_and_told(tmp_path: Path) -> None:
    size = len(_source(tmp_path, "gemma").vocab)
    source = _source(tmp_path, "gemma", size=size)
    assert "<표>" not in _told(source)["token_list"]
    assert any("토큰 1개는 뺐습니다" in note for note in vocabulary.notes(source))


def test_normalisation_to_nfc_is_told(tmp_path: Path) -> None:
    source = _source(tmp_path, "qwen2", edit=_set("normalizer", {"type": "NFC"}))
    assert any("NFD" in note for note in vocabulary.notes(source))


def test_rules_that_scores_cannot_tell_are_counted(tmp_path: Path) -> None:
    def swap(state: dict[str, Any]) -> None:
        rules = state["model"]["merges"]
        rules.append(rules.pop(0))

    assert vocabulary.notes(_source(tmp_path, "sentencepiece")) == []
    notes = vocabulary.notes(_source(tmp_path, "sentencepiece", edit=lambda s: s["model"].update(
        merges=s["model"]["merges"][:-3])))  # fmt: skip
    assert any("병합 규칙 3개" in note for note in notes)


def _json(path: Path, **values: Any) -> None:
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**old, **values}, ensure_ascii=False), encoding="utf-8")


def _special(folder: Path, kind: str = "gpt-2", **settings: Any) -> dict[str, Any]:
    _source(folder, kind)
    _json(folder / "tokenizer_config.json", **settings)
    source = tokenizers.read(
        Checkpoint(folder, {"bos_token_id": 1, "eos_token_id": [2, 3]}, (), {}), size=901
    )
    told: Any = _Told()
    special.describe(source, told, {"<unk>": 0, "<s>": 1, "</s>": 2, "<|user|>": 3, "<표>": 900})
    return dict(told.values)


def test_a_bos_that_the_template_puts_is_put(tmp_path: Path) -> None:
    told = _special(tmp_path)
    assert told["add_bos_token"]
    assert not told["add_eos_token"]
    assert (told["bos_token_id"], told["eos_token_id"], told["unk_token_id"]) == (1, 2, 0)


def test_settings_beside_the_tokenizer_win(tmp_path: Path) -> None:
    told = _special(tmp_path, add_bos_token=False, add_eos_token=True, eos_token="<표>")
    assert not told["add_bos_token"]
    assert told["add_eos_token"]
    assert told["eos_token_id"] == 900


def test_all_ends_of_generation_are_carried(tmp_path: Path) -> None:
    told = _special(tmp_path)
    assert (told["eos_token_id"], told["eot_token_id"]) == (2, 3)
    _json(tmp_path / "generation_config.json", eos_token_id=[3, 2, 900])
    told = _special(tmp_path)
    assert (told["eos_token_id"], told["eot_token_id"], told["eom_token_id"]) == (2, 3, 900)


def test_a_name_that_is_an_object_is_read(tmp_path: Path) -> None:
    told = _special(tmp_path, bos_token={"content": "<|user|>"}, pad_token="<표>")
    assert told["pad_token_id"] == 900
    assert told["bos_token_id"] == 1  # what the template really puts


def test_the_chat_template_is_found_wherever_it_is(tmp_path: Path) -> None:
    assert "chat_template" not in _special(tmp_path)
    assert _special(tmp_path, chat_template="가")["chat_template"] == "가"
    _json(tmp_path / "chat_template.json", chat_template="나")
    assert _special(tmp_path, chat_template="가")["chat_template"] == "나"
    (tmp_path / "chat_template.jinja").write_text("다", encoding="utf-8")
    assert _special(tmp_path, chat_template="가")["chat_template"] == "다"
