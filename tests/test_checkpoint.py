"""Checkpoint folders read by their headers: what is there, and what is broken about it."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from lightkorllm import checkpoint
from lightkorllm.errors import LightKorError, ModelBroken, ModelNotFound

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}


def _safetensors(file: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """A weight file of zeros, made without any library."""
    sizes = {"F32": 4, "F16": 2, "I32": 4}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start, size = end, sizes[dtype]
        for width in shape:
            size *= width
        end = start + size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode("utf-8")
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    return file


def _layer(name: str, *, width: int = 64, out: int = 64, group: int = 32) -> dict[str, Any]:
    return {
        f"{name}.qweight": ("I32", [width // 8, out]),
        f"{name}.qzeros": ("I32", [width // group, out // 8]),
        f"{name}.scales": ("F16", [width // group, out]),
        f"{name}.g_idx": ("I32", [width]),
    }


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    checkpoints.edit(tmp_path / "config.json", model_type="llama", max_position_embeddings=2048)
    _safetensors(tmp_path / "model.safetensors", {"a.weight": ("F32", [4, 3]), "b": ("F16", [2])})
    return tmp_path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    checkpoints.edit(tmp_path / "config.json", model_type="llama", quantization_config=GPTQ)
    _safetensors(tmp_path / "model.safetensors", _layer("model.layers.0.mlp.up_proj"))
    return tmp_path


def test_a_plain_folder_is_read_by_its_header(plain: Path) -> None:
    found = checkpoint.read(plain)
    assert (found.model_type, found.context_length, found.gptq) == ("llama", 2048, None)
    assert (found.parameters, found.size) == (14, 52)
    tensor = found.tensors["a.weight"]
    with tensor.file.open("rb") as data:
        data.seek(tensor.start)
        assert data.read(tensor.size) == bytes(48)


def test_a_gptq_folder_says_how_it_was_quantised(packed: Path) -> None:
    found = checkpoint.read(packed)
    assert found.gptq == checkpoint.Gptq(bits=4, group_size=32, sym=True, desc_act=False)
    assert found.quantised_layers() == ("model.layers.0.mlp.up_proj",)


def test_a_wrapped_language_model_is_found(plain: Path) -> None:
    inner = {"max_position_embeddings": 123}
    checkpoints.edit(plain / "config.json", max_position_embeddings=None, text_config=inner)
    assert checkpoint.read(plain).context_length == 123


def test_a_sharded_folder_is_read_whole(plain: Path) -> None:
    (plain / "model.safetensors").rename(plain / "model-1.safetensors")
    _safetensors(plain / "model-2.safetensors", {"c": ("F32", [5])})
    names = {"a.weight": "model-1.safetensors", "c": "model-2.safetensors"}
    checkpoints.edit(plain / "model.safetensors.index.json", weight_map=names)
    found = checkpoint.read(plain)
    assert [file.name for file in found.weights] == ["model-1.safetensors", "model-2.safetensors"]
    assert set(found.tensors) == {"a.weight", "b", "c"}
    (plain / "model-2.safetensors").unlink()
    with pytest.raises(ModelBroken, match=r"model-2\.safetensors"):
        checkpoint.read(plain)


@pytest.mark.parametrize(
    "name", ["../밖.safetensors", "/etc/passwd", "하위/안.safetensors", "a.bin", "..", ""]
)
def test_an_index_points_at_weight_files_of_its_own_folder_only(plain: Path, name: str) -> None:
    outside = plain.parent / "밖.safetensors"
    shutil.copy(plain / "model.safetensors", outside)
    checkpoints.edit(plain / "model.safetensors.index.json", weight_map={"a": name})
    try:
        with pytest.raises(ModelBroken, match="가중치 파일 이름이 아닙니다"):
            checkpoint.read(plain)
    finally:
        outside.unlink()


@pytest.mark.parametrize("weight_map", [None, {}, [], "model.safetensors"])
def test_an_index_without_a_map_is_refused(plain: Path, weight_map: Any) -> None:
    checkpoints.edit(plain / "model.safetensors.index.json", weight_map=weight_map)
    with pytest.raises(ModelBroken, match="weight_map"):
        checkpoint.read(plain)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 5000, "\x00"])
@pytest.mark.parametrize("name", ["config.json", "quantize_config.json"])
def test_a_config_that_is_no_object_is_refused_by_name(plain: Path, name: str, text: str) -> None:
    (plain / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelBroken, match=name):
        checkpoint.read(plain)


def test_what_is_not_there_is_told_so(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="없는 폴더"):
        checkpoint.read(tmp_path / "없는 폴더")
    (plain / "config.json").unlink()
    with pytest.raises(ModelBroken, match=r"config\.json"):
        checkpoint.read(plain)


@pytest.mark.case("Q04")
@pytest.mark.parametrize("place", ["config.json", "quantize_config.json"])
def test_settings_may_stand_in_either_place(packed: Path, place: str) -> None:
    if place == "quantize_config.json":
        checkpoints.edit(packed / "config.json", quantization_config=None)
        checkpoints.edit(packed / place, **GPTQ)
    assert checkpoint.read(packed).gptq is not None
    checkpoints.edit(packed / "config.json", quantization_config=None)
    (packed / "quantize_config.json").unlink(missing_ok=True)
    with pytest.raises(ModelBroken, match="설정이 없습니다"):
        checkpoint.read(packed)


@pytest.mark.parametrize(
    ("key", "value"), [("bits", 8), ("group_size", 128), ("sym", False), ("desc_act", True)]
)
def test_two_places_that_contradict_each_other_are_refused(
    packed: Path, key: str, value: Any
) -> None:
    checkpoints.edit(packed / "quantize_config.json", **{**GPTQ, key: value})
    with pytest.raises(ModelBroken, match=key):
        checkpoint.read(packed)


@pytest.mark.case("Q19")
@pytest.mark.parametrize(("bits", "group"), [(4, 64), (4, -1), (4, 16), (8, 32), (2, 32)])
def test_settings_that_the_shapes_contradict_are_refused(
    packed: Path, bits: int, group: int
) -> None:
    declared = {**GPTQ, "bits": bits, "group_size": group}
    checkpoints.edit(packed / "config.json", quantization_config=declared)
    with pytest.raises(ModelBroken, match="group_size"):
        checkpoint.read(packed)


@pytest.mark.parametrize(
    "changes", [{"bits": None}, {"bits": "넷"}, {"bits": 5}, {"group_size": "모름"}, {"bits": 0}]
)
def test_settings_that_mean_nothing_are_refused(packed: Path, changes: dict[str, Any]) -> None:
    declared = {k: v for k, v in {**GPTQ, **changes}.items() if v is not None}
    checkpoints.edit(packed / "config.json", quantization_config=declared)
    with pytest.raises(ModelBroken, match="bits"):
        checkpoint.read(packed)


@pytest.mark.case("Q07")
def test_autogptqs_asymmetric_checkpoints_are_refused_and_gptqmodels_are_not(
    packed: Path,
) -> None:
    declared = {**GPTQ, "sym": False}
    checkpoints.edit(packed / "config.json", quantization_config=declared)
    with pytest.raises(ModelBroken, match="sym=false"):
        checkpoint.read(packed)
    for made in ({"meta": {"quantizer": ["gptqmodel:7.7.0"]}}, {"checkpoint_format": "gptq_v2"}):
        checkpoints.edit(packed / "config.json", quantization_config={**declared, **made})
        assert checkpoint.read(packed).gptq is not None


def test_another_method_is_refused_by_name(packed: Path) -> None:
    checkpoints.edit(packed / "config.json", quantization_config={**GPTQ, "quant_method": "awq"})
    with pytest.raises(ModelBroken, match="awq"):
        checkpoint.read(packed)


def test_settings_without_packed_weights_and_layers_without_scales_are_refused(
    plain: Path,
) -> None:
    checkpoints.edit(plain / "config.json", quantization_config=GPTQ)
    with pytest.raises(ModelBroken, match="qweight"):
        checkpoint.read(plain)
    layer = _layer("층")
    del layer["층.scales"]
    _safetensors(plain / "model.safetensors", layer)
    with pytest.raises(ModelBroken, match="scales"):
        checkpoint.read(plain)


@pytest.mark.case("Q05")
@pytest.mark.parametrize("key", ["model_file_base_name", "model_basename"])
def test_the_old_name_of_the_weights_is_taken_from_the_settings(packed: Path, key: str) -> None:
    old = (packed / "model.safetensors").rename(packed / "gptq_model-4bit-32g.safetensors")
    shutil.copy(old, packed / "다른 것.safetensors")
    checkpoints.edit(packed / "quantize_config.json", **GPTQ, **{key: old.stem})
    assert checkpoint.read(packed).weights == (old,)


@pytest.mark.case("Q05")
def test_of_two_candidates_the_user_is_asked_and_may_point_at_one(packed: Path) -> None:
    first = (packed / "model.safetensors").rename(packed / "a.safetensors")
    second = Path(shutil.copy(first, packed / "b.safetensors"))
    with pytest.raises(ModelBroken, match=r"a\.safetensors.*b\.safetensors"):
        checkpoint.read(packed)
    assert checkpoint.read(second).weights == (second,)


@pytest.mark.case("Q17")
def test_pickled_weights_are_refused_and_safetensors_beside_them_are_used(plain: Path) -> None:
    (plain / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert checkpoint.read(plain).weights == (plain / "model.safetensors",)
    (plain / "model.safetensors").unlink()
    with pytest.raises(ModelBroken, match="피클"):
        checkpoint.read(plain)


def test_every_cut_of_a_file_is_told_as_damage(plain: Path) -> None:
    file = plain / "model.safetensors"
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ModelBroken, match="safetensors"):
            checkpoint.read(plain)


def test_flipped_bits_of_a_header_are_told_as_damage_or_harmless(packed: Path) -> None:
    file = packed / "model.safetensors"
    whole = bytearray(file.read_bytes())
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    dice = random.Random(7)
    for place in range(header):
        damaged = whole.copy()
        damaged[place] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        try:
            found = checkpoint.read(packed)
        except LightKorError:
            continue
        for tensor in found.tensors.values():
            assert 0 <= tensor.start <= tensor.start + tensor.size <= len(whole)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 5]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F32", "data_offsets": [0, 4]},
        {"shape": [1], "data_offsets": [0, 4]},
        [],
        None,
    ],
)
def test_a_tensor_that_cannot_be_is_told_as_damage(plain: Path, entry: Any) -> None:
    text = json.dumps({"a": entry}).encode("utf-8")
    file = plain / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    with pytest.raises(ModelBroken, match="safetensors"):
        checkpoint.read(plain)


def test_a_header_that_claims_to_be_endless_costs_no_memory(plain: Path) -> None:
    (plain / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    with pytest.raises(ModelBroken):
        checkpoint.read(plain)
