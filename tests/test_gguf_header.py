"""GGUF headers: what a file says of itself, and files that lie."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightkorllm import gguf_header
from lightkorllm.errors import LightKorError, ModelBroken, ModelNotFound


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _header(*pairs: tuple[str, int, bytes]) -> bytes:
    body = b"".join(_text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    tensor = _text("blk.0.ffn_up.weight") + struct.pack("<IQQIQ", 2, 64, 128, 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + body + tensor


WORDS = struct.pack("<IQ", 8, 100) + b"".join(_text(f"단어{n}") for n in range(100))
WHOLE = _header(
    ("general.architecture", 8, _text("llama")),
    ("llama.context_length", 4, struct.pack("<I", 2048)),
    ("tokenizer.ggml.tokens", 9, WORDS),
    ("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 100) + b"\x00" * 400),
    ("sizes", 9, struct.pack("<IQ", 4, 2) + struct.pack("<II", 7, 9)),
    ("tokenizer.chat_template", 8, _text("{{ messages }} 안녕")),
)


def _write(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "모델.gguf"
    file.write_bytes(data)
    return file


def test_metadata_is_read_and_vocabularies_are_passed_over(tmp_path: Path) -> None:
    header = gguf_header.read(_write(tmp_path, WHOLE))
    assert (header.architecture, header.train_context) == ("llama", 2048)
    assert header.chat_template == "{{ messages }} 안녕"
    assert header["sizes"] == [7, 9]
    assert header["tokenizer.ggml.tokens"] is None


def test_tensors_have_their_shapes_outermost_first(tmp_path: Path) -> None:
    header = gguf_header.read(_write(tmp_path, WHOLE))
    assert header.tensors == {"blk.0.ffn_up.weight": (128, 64)}
    assert 0 <= header.data_start - len(WHOLE) < 32
    assert header.data_start % 32 == 0


@pytest.mark.model
def test_the_embedded_model_says_what_it_is(embedded_gguf: Path) -> None:
    header = gguf_header.read(embedded_gguf)
    assert (header.architecture, header.train_context) == ("gemma3", 32768)
    assert header.chat_template is None


def test_a_header_that_breaks_off_anywhere_is_refused(tmp_path: Path) -> None:
    for size in range(len(WHOLE)):
        with pytest.raises((ModelBroken, ModelNotFound)):
            gguf_header.read(_write(tmp_path, WHOLE[:size]))


def test_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    nested = struct.pack("<IQ", 9, 1) * 50_000
    with pytest.raises(ModelBroken):
        gguf_header.read(_write(tmp_path, _header(("끝없이", 9, nested))))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="없는"):
        gguf_header.read(tmp_path / "없는.gguf")


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_is_read_or_refused_but_never_a_crash(
    tmp_path: Path, at: int, bit: int
) -> None:
    data = bytearray(WHOLE)
    data[at] ^= 1 << bit
    with contextlib.suppress(LightKorError):
        gguf_header.read(_write(tmp_path, bytes(data)))
