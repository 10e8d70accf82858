"""A model's sizes are read from headers: whatever its attention, its vocabulary or its format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import checkpoints
import hollow
from lightkorllm import checkpoint, embedded, gguf_header, shape
from lightkorllm.shape import Shape


def _read(folder: Path, config: dict[str, Any], tensors: hollow.Tensors) -> Shape:
    return shape.of_checkpoint(checkpoint.read(hollow.write(folder, config, tensors)))


def _llama_2_ko(folder: Path) -> Shape:
    config = {**hollow.LLAMA_2_KO, "quantization_config": hollow.GPTQ}
    return _read(folder, config, hollow.llama(hollow.LLAMA_2_KO, group=128))


def test_packed_weights_are_counted_as_what_they_stand_for(tmp_path: Path) -> None:
    found = _llama_2_ko(tmp_path)
    plain = _read(tmp_path / "plain", hollow.LLAMA_2_KO, hollow.llama(hollow.LLAMA_2_KO))
    assert found.parameters == plain.parameters == 6_855_856_128
    assert found.linear == plain.linear == 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert (found.heads, found.kv_heads, found.vocabulary) == (32, 32, 46336)


def test_what_quantising_would_leave_is_what_it_leaves(tmp_path: Path) -> None:
    plain = _read(tmp_path / "plain", hollow.LLAMA_2_KO, hollow.llama(hollow.LLAMA_2_KO))
    packed = _llama_2_ko(tmp_path)
    assert plain.quantised() == pytest.approx(packed.stored, rel=0.01)
    assert packed.loaded(2) == pytest.approx(packed.stored, rel=0.001)


@pytest.mark.case("Q18")
def test_grouped_queries_keep_fewer_keys_and_values(tmp_path: Path) -> None:
    many = _llama_2_ko(tmp_path)
    few = _read(tmp_path / "few", hollow.LLAMA_3_8B, hollow.llama(hollow.LLAMA_3_8B))
    assert many.cached(1) * 2 == 512 * 1024  # landscape.md, C1: KiB a token in 16 bit
    assert few.cached(1) * 2 == 128 * 1024
    assert many.cached(2048) * 2 == 1024**3


def test_local_layers_remember_their_window_alone(tmp_path: Path) -> None:
    found = _read(tmp_path, hollow.GEMMA_3_4B, hollow.gemma3_4b())
    assert (found.layers, found.local, found.window) == (34, 29, 1024)
    each = 2 * 4 * 256
    assert found.cached(8192) == each * (5 * 8192 + 29 * 1024)
    assert found.cached(512) == each * 34 * 512
    assert found.cached(8192, whole=True) == each * 34 * 8192


def test_heads_and_vocabulary_that_a_config_leaves_out_are_read_from_the_tensors(
    tmp_path: Path,
) -> None:
    found = _read(tmp_path, hollow.GEMMA_3_4B, hollow.gemma3_4b())
    assert (found.heads, found.kv_heads, found.head_dim) == (8, 4, 256)
    assert found.vocabulary == 262_208


def test_an_output_matrix_that_is_the_embedding_is_counted_once(tmp_path: Path) -> None:
    config = {**hollow.LLAMA_3_8B, "tie_word_embeddings": True}
    tied = _read(tmp_path / "tied", config, hollow.llama(config))
    again = hollow.llama({**config, "tie_word_embeddings": False})
    twice = _read(tmp_path / "twice", config, again)
    assert twice.parameters == tied.parameters
    assert twice.stored == tied.stored


@pytest.mark.parametrize(
    ("config", "local"),
    [
        ({"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 8}, 2),
        ({"layer_types": ["sliding_attention"] * 4, "sliding_window": None}, 0),
        ({"sliding_window": 8}, 4),
        ({"sliding_window": 8, "use_sliding_window": False}, 0),
        ({"sliding_window": 8, "sliding_window_pattern": "LLLG"}, 3),
        ({"sliding_window": 8, "model_type": "gemma2"}, 2),
    ],
)
def test_every_way_of_telling_which_layers_are_local_is_understood(
    tmp_path: Path, config: dict[str, Any], local: int
) -> None:
    small = {**hollow.LLAMA_3_8B, "num_hidden_layers": 4, **config}
    assert _read(tmp_path, small, hollow.llama(small)).local == local


def test_layers_of_linear_attention_keep_no_keys(tmp_path: Path) -> None:
    kinds = ["linear_attention"] * 3 + ["full_attention"]
    small = {**hollow.LLAMA_3_8B, "num_hidden_layers": 4, "layer_types": kinds}
    assert _read(tmp_path, small, hollow.llama(small)).cached(100) == 2 * 8 * 128 * 100


def test_gpt_neox_is_understood_too(tmp_path: Path) -> None:
    found = _read(tmp_path, hollow.POLYGLOT_12_8B, hollow.gpt_neox(hollow.POLYGLOT_12_8B))
    assert found.parameters == pytest.approx(12.8e9, rel=0.01)
    assert (found.kv_heads, found.vocabulary) == (40, 30080)
    assert found.linear == 40 * 12 * 5120**2


@pytest.mark.parametrize("kind", ["llama", "gemma3", "qwen3", "gptq"])
def test_a_small_checkpoint_is_as_large_as_its_file(tmp_path: Path, kind: str) -> None:
    make = checkpoints.llama if kind == "gptq" else getattr(checkpoints, kind)
    folder = make(tmp_path / "model")
    if kind == "gptq":
        folder = checkpoints.gptq(folder, tmp_path / "packed")
    found = shape.of_checkpoint(checkpoint.read(folder))
    assert found.stored == pytest.approx((folder / "model.safetensors").stat().st_size, rel=0.08)
    assert 0 < found.in_layers < found.stored


def test_the_embedded_model_is_five_sixths_local_with_a_wide_vocabulary() -> None:
    file = embedded.path()
    found = shape.of_gguf(gguf_header.read(file), file.stat().st_size)
    assert (found.layers, found.local, found.window) == (18, 15, 512)
    assert (found.kv_heads, found.head_dim, found.vocabulary) == (1, 256, 262_144)
    assert found.parameters == pytest.approx(268e6, rel=0.01)
    assert found.interleaved == 13_271_040  # what llama.cpp's log calls CPU_REPACK
    assert found.in_layers == pytest.approx(found.stored - 178_257_920, rel=0.1)
