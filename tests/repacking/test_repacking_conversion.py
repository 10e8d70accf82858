"""Folders to GGUF: formats, settings, records, and refusals that leave nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from lightkorllm import record, repacking
from lightkorllm.errors import MissingPackage, ModelBroken, OptionError
from lightkorllm.record import Record
from repacking import families, packing, texts
from repacking.gguf_file import GgufFile
from repacking.native import Native


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    """A plain folder that the test may spoil."""
    return Path(shutil.copytree(plain, tmp_path / "사본"))


def _edit(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def _weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "model.safetensors"))


def _save(folder: Path, tensors: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / "model.safetensors")


def test_plain_numbers_are_kept_in_the_narrowest_type_that_holds_them(copy: Path) -> None:
    tensors = _weights(copy)
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].astype(np.float16)
    _save(copy, tensors)
    file = GgufFile(repacking.to_gguf(copy, copy / "m.gguf").path)
    assert file.kinds()["token_embd.weight"] == "F16"
    assert file.kinds()["output.weight"] == "F32"
    assert file.kinds()["blk.0.attn_norm.weight"] == "F32"
    wanted = tensors["model.embed_tokens.weight"].astype(np.float32)
    assert np.array_equal(file.numbers("token_embd.weight"), wanted)


def test_bfloat16_is_not_squeezed_into_float16(plain: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.bfloat16)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = 1e-30
    model.save_pretrained(tmp_path / "bf16")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(plain / name, tmp_path / "bf16")
    file = GgufFile(repacking.to_gguf(tmp_path / "bf16", tmp_path / "m.gguf").path)
    wanted = model.model.layers[0].mlp.up_proj.weight.detach().float().numpy()
    assert file.kinds()["blk.0.ffn_up.weight"] == "BF16"
    assert np.array_equal(file.numbers("blk.0.ffn_up.weight"), wanted)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows hold the blocks of 256 that K formats have."""
    return families.make("wide", tmp_path_factory.mktemp("wide") / "wide")


@pytest.mark.parametrize(
    ("kind", "most", "some"),
    [
        ("f32", "F32", None), ("f16", "F16", None), ("bf16", "BF16", None), ("q8_0", "Q8_0", None),
        ("q5_1", "Q5_1", None), ("q5_0", "Q5_0", None), ("q4_1", "Q4_1", None),
        ("q4_0", "Q4_0", None), ("q6_k", "Q6_K", None), ("q5_k_m", "Q5_K", "Q6_K"),
        ("q4_k_m", "Q4_K", "Q6_K"),
    ],
)  # fmt: skip
def test_every_format_is_written_as_asked_and_close_to_the_weights(
    wide: Path, tmp_path: Path, kind: str, most: str, some: str | None
) -> None:
    file = GgufFile(repacking.to_gguf(wide, tmp_path / "m.gguf", kind=kind).path)
    kinds = [kind for name, kind in file.kinds().items() if "_norm" not in name]
    assert set(kinds) == {most, some} - {None}
    assert max(kinds, key=kinds.count) == most
    wanted = _weights(wide)["model.layers.1.mlp.up_proj.weight"]
    error = np.sqrt(np.mean((file.numbers("blk.1.ffn_up.weight") - wanted) ** 2)) / wanted.std()
    assert error < 0.1


def test_llama_cpp_runs_a_mixture(wide: Path, tmp_path: Path) -> None:
    made = repacking.to_gguf(wide, tmp_path / "m.gguf", kind="q4_k_m")
    with Native(made.path) as native:
        assert len(native.next_tokens(native.tokens(texts.HARD[0]), first=1)) > 1


def test_rows_too_short_for_a_format_get_a_wider_one(plain: Path, tmp_path: Path) -> None:
    file = GgufFile(repacking.to_gguf(plain, tmp_path / "m.gguf", kind="q4_k_m").path)
    assert set(file.kinds().values()) == {"F32", "Q5_0", "Q8_0"}
    assert file["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_K_M


def test_an_embedding_larger_than_the_layers_is_narrowed_and_told(
    plain: Path, tmp_path: Path
) -> None:
    packing.checkpoint(plain, tmp_path / "gptq")
    made = repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")
    assert any("출력 행렬은 Q8_0 형식" in n and "--embedding exact" in n for n in made.notes)
    made = repacking.to_gguf(tmp_path / "gptq", tmp_path / "e.gguf", embedding="exact")
    wanted = _weights(plain)["model.embed_tokens.weight"]
    assert np.array_equal(GgufFile(made.path).numbers("token_embd.weight"), wanted)


def test_an_embedding_that_does_not_is_kept(wide: Path, tmp_path: Path) -> None:
    packing.checkpoint(wide, tmp_path / "gptq")
    made = repacking.to_gguf(tmp_path / "gptq", tmp_path / "m.gguf")
    assert GgufFile(made.path).kinds()["token_embd.weight"] == "F32"
    assert not any("--embedding" in note for note in made.notes)


def test_unknown_formats_are_refused_with_the_known_ones(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"q3.*q4_k_m"):
        repacking.to_gguf(plain, tmp_path / "m.gguf", kind="q3")


def test_the_record_goes_with_the_file(copy: Path) -> None:
    record.write(Record(base="작은 라마", method="gptq", prompt_format="kullm_ko"), copy)
    made = repacking.to_gguf(copy, copy.parent / "말.gguf")
    kept = record.read(made.path)
    assert kept
    assert (kept.base, kept.method, kept.prompt_format) == ("작은 라마", "gptq", "kullm_ko")
    assert kept.settings["gguf"]["changed"] == 0.0
    assert GgufFile(made.path)["general.name"] == "작은 라마"


def test_an_existing_file_stays_unless_it_may_go(plain: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.gguf"
    target.write_text("소중한 파일", encoding="utf-8")
    with pytest.raises(OptionError, match="--overwrite"):
        repacking.to_gguf(plain, target)
    assert target.read_text(encoding="utf-8") == "소중한 파일"
    assert repacking.to_gguf(plain, target, overwrite=True).path == target


def test_an_unknown_kind_of_model_is_refused_with_the_known_ones(copy: Path) -> None:
    _edit(copy / "config.json", model_type="mamba")
    with pytest.raises(ModelBroken, match=r"mamba.*exaone4, gemma.*llama.*qwen3"):
        repacking.to_gguf(copy, copy / "m.gguf")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"hidden_act": "relu2"}, "relu2"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"num_hidden_layers": "셋"}, "num_hidden_layers"),
    ],
)
def test_settings_that_llama_cpp_has_not_are_refused(
    copy: Path, values: dict[str, Any], word: str
) -> None:
    _edit(copy / "config.json", **values)
    with pytest.raises(ModelBroken, match=word):
        repacking.to_gguf(copy, copy / "m.gguf")
    assert not list(copy.glob("m.*"))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("model.layers.1.mlp.up_proj.weight", r"1번 층에 ffn_up\.weight"),
        ("lm_head.weight", r"output\.weight"),
        ("model.norm.weight", r"output_norm\.weight"),
    ],
)
def test_missing_weights_are_named(copy: Path, name: str, word: str) -> None:
    tensors = _weights(copy)
    del tensors[name]
    _save(copy, tensors)
    with pytest.raises(ModelBroken, match=word):
        repacking.to_gguf(copy, copy / "m.gguf")


def test_unknown_weights_are_named(copy: Path) -> None:
    _save(copy, {**_weights(copy), "model.layers.0.mlp.surprise.weight": np.zeros((2, 64), "f4")})
    with pytest.raises(ModelBroken, match=r"mlp\.surprise"):
        repacking.to_gguf(copy, copy / "m.gguf")


def test_a_window_that_llama_cpp_ignores_shortens_the_context(tmp_path: Path) -> None:
    folder = families.make("mistral", tmp_path / "m")
    made = repacking.to_gguf(folder, tmp_path / "m.gguf")
    assert GgufFile(made.path)["llama.context_length"] == 256
    assert any("256토큰" in note for note in made.notes)


def test_the_language_part_of_a_wider_model_is_carried_alone(tmp_path: Path) -> None:
    folder = families.make("gemma3", tmp_path / "text")
    alone = GgufFile(repacking.to_gguf(folder, tmp_path / "text.gguf").path)
    inner = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "text_config": inner}), encoding="utf-8"
    )
    tensors = {f"language_model.{name}": data for name, data in _weights(folder).items()}
    tensors["vision_tower.vision_model.post_layernorm.weight"] = np.ones(8, "f4")
    _save(folder, tensors)
    made = repacking.to_gguf(folder, tmp_path / "whole.gguf")
    whole = GgufFile(made.path)
    assert whole.kinds() == alone.kinds()
    assert any("그림" in note for note in made.notes)
    assert whole["gemma3.rope.freq_base_swa"] == 10_000.0


def test_conversion_stays_small_in_memory(plain: Path) -> None:
    from lightkorllm import checkpoint
    from lightkorllm.repacking import weights

    tensor = checkpoint.read(plain).tensors["model.embed_tokens.weight"]
    parts = list(weights.row_blocks(tensor))
    assert np.array_equal(np.concatenate(parts), weights.floats(tensor))
    assert isinstance(weights.mapped(tensor).base, np.memmap)


def test_a_missing_library_says_how_to_get_it(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libgguf", None)
    with pytest.raises(MissingPackage, match=r"libgguf.*lightkorllm\[gptq\]"):
        repacking.to_gguf(plain, tmp_path / "m.gguf", kind="q4_k_m")
