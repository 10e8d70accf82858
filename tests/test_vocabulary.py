"""Tokenizers as an engine wants them: one BOS, text that goes on, bytes that add up."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import checkpoints
import tiny
from lightkorllm import pretrained
from lightkorllm.text import IdText
from lightkorllm.vocabulary import Vocabulary

LINES = (
    "안녕하세요, 반갑습니다.",
    "그는 깊은 생각에 잠겼다.",
    "궳뛟뷁 같은 드문 글자와 漢字, emoji 👨‍👩‍👧 도 있다.",
    "줄을\n\n바꾸고  두 칸\t띄운다",
    "def 더하기(a, b): return a + b",
)


@pytest.fixture(scope="module", params=["byte-level", "byte-fallback"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make = tiny.tokenizer if request.param == "byte-level" else checkpoints.byte_fallback
    make(folder)
    return folder


@pytest.fixture
def vocabulary(folder: Path) -> Vocabulary:
    return Vocabulary(pretrained.load_tokenizer(folder))


@pytest.mark.parametrize("line", LINES)
def test_what_is_said_token_by_token_is_what_was_meant(vocabulary: Vocabulary, line: str) -> None:
    ids = vocabulary.encode("가 " + line)
    start = len(vocabulary.encode("가"))
    text = IdText(vocabulary.decode)
    shown = [text.feed(id_) for id_ in ids[start:]]
    shown.append(text.flush())
    assert not any("\ufffd" in piece for piece in shown)
    assert "".join(shown) == " " + line


@pytest.mark.parametrize("line", LINES)
def test_the_bytes_of_the_tokens_are_the_texts(vocabulary: Vocabulary, line: str) -> None:
    ids = vocabulary.encode(line)
    spelled = b"".join(vocabulary.token_bytes(id_) for id_ in ids).decode("utf-8")
    assert spelled.removeprefix(" ") == line  # Llama's writes a space before a text


@pytest.mark.case("K22", "F07")
def test_there_is_exactly_one_bos_where_the_tokenizer_wants_one(tmp_path: Path) -> None:
    fast = checkpoints.byte_fallback(tmp_path)
    vocabulary = Vocabulary(pretrained.load_tokenizer(tmp_path))
    for text in ("안녕", "<s>안녕"):
        assert vocabulary.encode(text).count(fast.bos_token_id) == 1
    assert vocabulary.encode("") == [fast.bos_token_id]


def test_without_a_bos_of_its_own_an_empty_prompt_still_has_a_token(tmp_path: Path) -> None:
    tiny.tokenizer(tmp_path)
    vocabulary = Vocabulary(pretrained.load_tokenizer(tmp_path))
    assert not vocabulary.adds_bos
    assert len(vocabulary.encode("")) == 1


def test_known_ends_of_a_turn_end_an_answer_although_no_config_names_them(tmp_path: Path) -> None:
    fast = tiny.tokenizer(tmp_path)
    fast.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|tool|>"]})
    fast.save_pretrained(tmp_path)
    ends = Vocabulary(pretrained.load_tokenizer(tmp_path), ends=[7]).ends
    assert ends == {7, fast.eos_token_id, fast.convert_tokens_to_ids("<|im_end|>")}


@pytest.mark.case("K25")
@pytest.mark.parametrize("named", ["LlamaTokenizer", "LlamaTokenizerFast"])
def test_a_korean_llama_with_tokenizer_json_alone_keeps_its_hangul(
    folder: Path, tmp_path: Path, named: str
) -> None:
    import shutil

    copy = shutil.copytree(folder, tmp_path / "모델")
    checkpoints.edit(copy / "tokenizer_config.json", tokenizer_class=named, backend=None)
    assert not (copy / "tokenizer.model").exists()
    tokenizer = pretrained.load_tokenizer(copy)
    text = "대한민국의 수도는 서울입니다. 궳뛟"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    assert Vocabulary(tokenizer).encode(text) == Vocabulary(
        pretrained.load_tokenizer(folder)
    ).encode(text)


def test_many_threads_may_encode_and_decode_at_once(vocabulary: Vocabulary) -> None:
    expected = [vocabulary.encode(line) for line in LINES]
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(50):
            for line, ids in zip(LINES, expected, strict=True):
                if vocabulary.encode(line) != ids or not vocabulary.decode(ids):
                    wrong.append(line)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
