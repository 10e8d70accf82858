"""PEFT's LoRA in llama.cpp: the same answers, or a refusal that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightkorllm import pretrained, record, repacking
from lightkorllm.errors import ModelBroken
from lightkorllm.record import Record
from repacking import families, gguf_file, packing, texts
from repacking.gguf_file import GgufFile
from repacking.native import Native

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _trained(base: Path, folder: Path, **settings: Any) -> Any:
    """A LoRA with random weights on `base`, saved in `folder`; the model that has it."""
    import peft
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(1)
    config = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": ALL, **settings})
    with pretrained.deprecations_of_others():
        wrapped = peft.get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    wrapped.save_pretrained(str(folder))
    return wrapped.eval()


@pytest.fixture(scope="module")
def base(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repacking.to_gguf(plain, tmp_path_factory.mktemp("base") / "base.gguf").path


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}],
    ids=["lora", "rslora", "ranks"],
)
def test_answers_with_the_adapter_are_those_of_peft(
    plain: Path, base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    import torch

    model = _trained(plain, tmp_path / "lora", **settings)
    done = repacking.adapter_to_gguf(tmp_path / "lora", tmp_path / "lora.gguf", base=plain)
    ids = pretrained.load_tokenizer(plain)(" ".join(texts.korean(40)))["input_ids"][:24]
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0]
        with model.disable_adapter():
            without = model(torch.tensor([ids])).logits[0]
    with Native(base, adapter=done.path) as native:
        got = native.next_tokens(ids, first=1, adapter=True)
        bare = native.next_tokens(ids, first=1, adapter=False)
    for logits_of, tokens in ((logits, got), (without, bare)):
        behind = logits_of[: len(tokens)].max(-1).values - logits_of[range(len(tokens)), tokens]
        assert float(behind.max()) < 0.05 * float(logits_of.std())
    assert got != bare


@pytest.mark.parametrize("name", ["llama3", "mistral", "qwen3", "gemma3", "exaone4"])
def test_a_gguf_base_gives_the_same_file_as_the_folder_it_was_made_of(
    tmp_path: Path, name: str
) -> None:
    folder = families.make(name, tmp_path / "바탕")
    base = repacking.to_gguf(folder, tmp_path / "바탕.gguf").path
    _trained(folder, tmp_path / "lora")
    made = [
        repacking.adapter_to_gguf(tmp_path / "lora", tmp_path / f"{of.name}.lora.gguf", base=of)
        for of in (folder, base)
    ]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


def test_a_gguf_base_of_another_model_is_refused_with_names_and_shapes(
    lora: Path, tmp_path: Path
) -> None:
    folder = families.make("qwen3", tmp_path / "큐웬")
    base = repacking.to_gguf(folder, tmp_path / "큐웬 4비트.gguf").path
    with pytest.raises(ModelBroken, match=r"lora.*큐웬 4비트.*q_proj.*64×64.*128×64"):
        repacking.adapter_to_gguf(lora, tmp_path / "a.gguf", base=base)


def test_a_gguf_base_of_an_unknown_family_is_refused_with_the_known_ones(
    lora: Path, tmp_path: Path
) -> None:
    (tmp_path / "팔콘.gguf").write_bytes(gguf_file.empty("falcon"))
    with pytest.raises(ModelBroken, match=r"falcon.*llama"):
        repacking.adapter_to_gguf(lora, tmp_path / "a.gguf", base=tmp_path / "팔콘.gguf")


def test_an_adapter_of_a_gptq_base_fits_it(plain: Path, tmp_path: Path) -> None:
    _trained(plain, tmp_path / "lora")
    record.write(
        Record(base="작은 라마", method="lora", prompt_format="koalpaca"), tmp_path / "lora"
    )
    packing.checkpoint(plain, tmp_path / "gptq")
    done = repacking.adapter_to_gguf(
        tmp_path / "lora", tmp_path / "말투.gguf", base=tmp_path / "gptq"
    )
    kept = record.read(done.path)
    assert kept
    assert kept.prompt_format == "koalpaca"
    file = GgufFile(done.path)
    assert file["adapter.lora.alpha"] == 6.0
    assert file["general.architecture"] == "llama"
    assert len(file.kinds()) == 2 * 7 * 3


def _edited(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **values}), encoding="utf-8")


@pytest.fixture(scope="module")
def lora(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora") / "lora"
    _trained(plain, folder, target_modules=["q_proj", "up_proj"])
    return folder


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"bias": "all"}, "bias"),
        ({"r": 8}, r"\[4\].*\[8\]"),
        ({"lora_alpha": None}, "lora_alpha"),
    ],
)
def test_what_llama_cpp_has_not_is_refused_by_name(
    plain: Path, lora: Path, tmp_path: Path, values: dict[str, Any], word: str
) -> None:
    import shutil

    shutil.copytree(lora, tmp_path / "lora")
    _edited(tmp_path / "lora", **values)
    with pytest.raises(ModelBroken, match=word):
        repacking.adapter_to_gguf(tmp_path / "lora", tmp_path / "a.gguf", base=plain)
    assert not list(tmp_path.glob("a.gguf*"))


def test_another_base_is_refused_with_names_and_shapes(lora: Path, tmp_path: Path) -> None:
    other = families.make("qwen3", tmp_path / "큐웬")
    with pytest.raises(ModelBroken, match=r"q_proj.*64×64.*128×64"):
        repacking.adapter_to_gguf(lora, tmp_path / "a.gguf", base=other)


def test_pickled_adapters_are_refused(plain: Path, lora: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    (tmp_path / "adapter_config.json").write_bytes((lora / "adapter_config.json").read_bytes())
    with pytest.raises(ModelBroken, match="피클"):
        repacking.adapter_to_gguf(tmp_path, tmp_path / "a.gguf", base=plain)


def test_the_base_is_found_in_the_adapter(plain: Path, lora: Path) -> None:
    assert repacking.is_adapter(lora)
    assert not repacking.is_adapter(plain)
    assert Path(repacking.base_of(lora)) == plain
