"""GPTQ to GGUF: the same numbers, or the number that says how far they moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightkorllm import repacking
from lightkorllm.checkpoint import Checkpoint, Gptq, read_header
from lightkorllm.errors import ModelBroken
from lightkorllm.repacking import blocks, gptq
from repacking import packing
from repacking.gguf_file import GgufFile, native_name, paired_rows
from repacking.packing import Packed


@st.composite
def grids(draw: st.DrawFn, *, bits: int, asymmetric: bool) -> dict[str, Any]:
    """Codes, zeros and scales of a layer whose groups are multiples of 32."""
    size = draw(st.sampled_from([32, 64, 128]))
    groups = draw(st.integers(1, 3))
    outof = draw(st.sampled_from([32, 64]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = 1 << bits
    zeros = chance.integers(0, top, (outof, groups)) if asymmetric else top // 2
    return {
        "codes": chance.integers(0, top, (outof, size * groups)),
        "zeros": np.broadcast_to(zeros, (outof, groups)).astype(np.int64),
        "scales": chance.uniform(6e-5, 0.3, (outof, groups)).astype(np.float16),
        "groups": list(np.arange(size * groups) // size),
        "bits": bits,
        "version": draw(st.sampled_from([1, 2])),
    }


def _read(folder: Path, packed: Packed, *, bits: int, version: int, group: int) -> gptq.Layer:
    from safetensors.numpy import save_file

    file = folder / "layer.safetensors"
    save_file({f"layer.{part}": data for part, data in packed.tensors.items()}, file)
    settings = Gptq(bits, group, sym=True, desc_act=False, version=version)
    return gptq.layer(Checkpoint(folder, {}, (file,), read_header(file), settings), "layer")


def _dequantised(data: Any, kind: str) -> Any:
    return gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind.upper()])


@pytest.mark.parametrize(
    ("bits", "asymmetric", "kind"),
    [
        (2, False, "q4_0"), (3, False, "q4_0"), (4, False, "q4_0"), (8, False, "q8_0"),
        (2, True, "q4_0"), (3, True, "q4_0"),
    ],
)  # fmt: skip
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_blocks_hold_the_weights_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    bits: int,
    asymmetric: bool,
    kind: str,
) -> None:
    grid = data.draw(grids(bits=bits, asymmetric=asymmetric))
    packed = packing.pack(**grid)
    size = grid["groups"].count(0)
    folder = tmp_path_factory.mktemp("layer")
    layer = _read(folder, packed, bits=bits, version=grid["version"], group=size)
    assert blocks.misfit(layer.grid) is None
    assert blocks.natural_kind(layer.grid) == kind
    written, changed = blocks.WRITERS[kind](layer)
    wanted = packing.unpack(packed.tensors, bits=bits, version=grid["version"])
    assert changed == 0.0
    assert np.array_equal(wanted, packed.weights)
    assert np.abs(_dequantised(written, kind) - wanted).max() == 0.0


@settings(max_examples=12, deadline=None)
@given(grid=grids(bits=4, asymmetric=True))
def test_asymmetric_layers_say_how_far_their_offset_was_rounded(
    tmp_path_factory: pytest.TempPathFactory, grid: dict[str, Any]
) -> None:
    packed = packing.pack(**grid)
    size = grid["groups"].count(0)
    folder = tmp_path_factory.mktemp("layer")
    layer = _read(folder, packed, bits=4, version=grid["version"], group=size)
    assert blocks.natural_kind(layer.grid) == "q4_1"
    written, changed = blocks.q4_1(layer)
    got = np.abs(_dequantised(written, "q4_1") - packed.weights).max()
    assert got == pytest.approx(changed, abs=1e-7)
    assert changed <= 0.3 * 15 * 2**-11  # half a step of fp16 below the largest offset
    written, changed = blocks.q8_0(layer)
    assert changed == 0.0
    assert np.array_equal(_dequantised(written, "q8_0"), packed.weights)


def test_a_scale_beyond_fp16_is_told_with_its_number(tmp_path: Path) -> None:
    scales = np.full((32, 1), 0.1, np.float32)
    packed = packing.pack(
        np.full((32, 32), 15), np.full((32, 1), 8), scales, [0] * 32, bits=4
    )  # fmt: skip
    layer = _read(tmp_path, packed, bits=4, version=1, group=32)
    written, changed = blocks.q4_0(layer)
    got = np.abs(_dequantised(written, "q4_0") - packed.weights).max()
    assert got == pytest.approx(changed, rel=1e-3)
    assert changed == pytest.approx(7 * abs(float(np.float16(0.1)) - 0.1), rel=1e-3)


@pytest.mark.parametrize("group", [32, 64, -1])
def test_every_layer_of_a_converted_folder_is_unchanged(
    plain: Path, tmp_path: Path, group: int
) -> None:
    layers = packing.checkpoint(plain, tmp_path / "gptq", group=group)
    done = repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")
    file = GgufFile(done.path)
    assert done.changed == 0.0
    assert "하나도 바뀌지 않았습니다" in done.notes[0]
    assert len(layers) == 21
    for name, packed in layers.items():
        wanted = packing.unpack(packed.tensors, bits=4)
        heads = {"q_proj": 4, "k_proj": 2}.get(name.rsplit(".", 1)[1])
        wanted = paired_rows(wanted, heads) if heads else wanted
        assert file.kinds()[native_name(name)] == "Q4_0"
        assert np.abs(file.numbers(native_name(name)) - wanted).max() == 0.0


def test_asymmetric_folders_tell_the_rounding_and_can_avoid_it(plain: Path, tmp_path: Path) -> None:
    layers = packing.checkpoint(plain, tmp_path / "gptq", sym=False)
    done = repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")
    file = GgufFile(done.path)
    name = "model.layers.1.mlp.up_proj"
    assert file.kinds()[native_name(name)] == "Q4_1"
    assert 0 < done.changed < 0.01
    assert f"{done.changed:.3g}" in done.notes[0]
    exact = repacking.to_gguf(tmp_path / "gptq", tmp_path / "e.gguf", kind="q8_0")
    assert exact.changed == 0.0
    numbers = GgufFile(exact.path).numbers(native_name(name))
    assert np.array_equal(numbers, packing.unpack(layers[name].tensors, bits=4))


def test_activation_order_is_refused_with_the_reason_and_can_be_requantised(
    plain: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gptq"
    packing.checkpoint(plain, folder, desc_act=True)
    _shuffle_groups(folder / "model.safetensors")
    with pytest.raises(ModelBroken, match=r"desc_act.*--type q8_0"):
        repacking.to_gguf(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()
    done = repacking.to_gguf(folder, tmp_path / "m.gguf", kind="q8_0")
    assert 0 < done.changed < 0.05
    half = repacking.to_gguf(folder, tmp_path / "h.gguf", kind="f16")
    assert half.changed < done.changed


def _shuffle_groups(file: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(file)
    for name, data in tensors.items():
        if name.endswith(".g_idx"):
            tensors[name] = np.random.default_rng(0).permutation(data)
    save_file(tensors, file)


def test_a_trivial_activation_order_is_no_obstacle(plain: Path, tmp_path: Path) -> None:
    packing.checkpoint(plain, tmp_path / "gptq", desc_act=True)
    assert repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf").changed == 0.0


def test_groups_of_sixteen_are_refused_with_the_number(plain: Path, tmp_path: Path) -> None:
    packing.checkpoint(plain, tmp_path / "gptq", group=16)
    with pytest.raises(ModelBroken, match="group_size 16"):
        repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")


def test_empty_biases_of_old_checkpoints_are_left_out(plain: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    layers = packing.checkpoint(plain, tmp_path / "gptq")
    file = tmp_path / "gptq" / "model.safetensors"
    empty = {f"{name}.bias": np.zeros(len(p.weights), np.float16) for name, p in layers.items()}
    save_file({**load_file(file), **empty}, file)
    done = repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")
    assert not [name for name in GgufFile(done.path).kinds() if name.endswith(".bias")]
