"""Which engine runs a model, and what is refused at the door: one sentence, exit code 2."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from lightkorllm.engines import opening
from lightkorllm.engines.transformers import TransformersEngine
from lightkorllm.errors import OptionError
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams
from lightkorllm.options import ChatOptions

ASK = GenerationRequest("한국의 수도는", SamplingParams(max_tokens=4, temperature=0))


@pytest.fixture
def folder(tiny_gptq: Path, tmp_path: Path) -> Path:
    """A GPTQ folder that a test may spoil."""
    return shutil.copytree(tiny_gptq, tmp_path / "양자화 모델")


def _options(model: Path, **options: Any) -> ChatOptions:
    return ChatOptions(
        quantized_model_dir=str(model), **{"device": "cpu", "engine": "transformers", **options}
    )


def _answers(options: ChatOptions) -> Reply:
    engine = opening.open_engine(options)
    with closing(engine):
        assert isinstance(engine, TransformersEngine)
        return Reply.join(engine.stream(ASK))


def _without_config(folder: Path) -> dict[str, Any]:
    """Take the quantisation settings out of config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    checkpoints.edit(folder / "config.json", quantization_config=None)
    return dict(config["quantization_config"])


def test_a_folder_without_a_card_runs_on_llama_cpp_and_with_beams_on_transformers(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    for card in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda card=card: card)
        auto = _options(tiny_llama, engine="auto", device="auto")
        assert opening._runner(auto, tiny_llama) == ("transformers" if card else "llamacpp")
        on_cpu = _options(tiny_llama, engine="auto", device="cpu")
        assert opening._runner(on_cpu, tiny_llama) == "llamacpp"
        beams = _options(tiny_llama, engine="auto", num_beams=3)
        assert opening._runner(beams, tiny_llama) == "transformers"
        forced = _options(tiny_llama, engine="llamacpp")
        assert opening._runner(forced, tiny_llama) == "llamacpp"


def test_beams_open_the_transformers_engine_by_themselves(tiny_llama: Path) -> None:
    assert _answers(_options(tiny_llama, engine="auto", num_beams=2)).usage.completion_tokens == 4


def test_a_gguf_file_does_not_run_on_transformers(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "모델.gguf").write_bytes(b"GGUF")
    said = refused("--model", str(tmp_path / "모델.gguf"), "--engine", "transformers")
    assert "--engine" in said


@pytest.mark.case("Q04")
def test_settings_in_config_json_alone_are_enough(folder: Path) -> None:
    assert not (folder / "quantize_config.json").exists()
    assert _answers(_options(folder)).usage.completion_tokens == 4


@pytest.mark.case("Q04")
def test_settings_in_quantize_config_json_alone_are_enough(folder: Path) -> None:
    checkpoints.edit(folder / "quantize_config.json", **_without_config(folder))
    assert _answers(_options(folder)).usage.completion_tokens == 4


@pytest.mark.case("Q04")
def test_packed_weights_without_any_settings_are_refused(
    folder: Path, refused: Callable[..., str]
) -> None:
    _without_config(folder)
    said = refused("--model", str(folder))
    assert "quantization_config" in said
    assert "quantize_config.json" in said


def _old_layout(folder: Path) -> Path:
    """As AutoGPTQ wrote it: the original's model has exactly these files."""
    declared = _without_config(folder)
    old = {key: declared[key] for key in ("bits", "group_size", "sym", "desc_act")}
    checkpoints.edit(
        folder / "quantize_config.json",
        **old,
        damp_percent=0.01,
        true_sequential=True,
        model_name_or_path=None,
        model_file_base_name="gptq_model-4bit-128g",
    )
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-128g.safetensors")
    return folder


@pytest.mark.case("Q05")
def test_an_autogptq_folder_with_its_old_names_answers_like_the_new_one(
    folder: Path, tiny_gptq: Path
) -> None:
    new = _answers(_options(tiny_gptq))
    assert _answers(_options(_old_layout(folder))) == new
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "gptq_model-4bit-128g.safetensors"
    ]


@pytest.mark.case("Q05")
def test_two_candidates_are_named_and_the_user_chooses(
    folder: Path, refused: Callable[..., str]
) -> None:
    declared = _without_config(folder)
    checkpoints.edit(folder / "quantize_config.json", **declared)
    old = (folder / "model.safetensors").rename(folder / "gptq_model-4bit-32g.safetensors")
    shutil.copy(old, folder / "gptq_model-4bit-64g.safetensors")
    said = refused("--model", str(folder))
    assert "gptq_model-4bit-32g.safetensors" in said
    assert "gptq_model-4bit-64g.safetensors" in said
    assert _answers(_options(old)).usage.completion_tokens == 4


@pytest.mark.case("Q05")
def test_a_missing_weight_file_is_told_with_what_is_there(
    folder: Path, refused: Callable[..., str]
) -> None:
    _old_layout(folder)
    (folder / "gptq_model-4bit-128g.safetensors").unlink()
    said = refused("--model", str(folder))
    assert "gptq_model-4bit-128g.safetensors" in said
    assert "tokenizer.json" in said


@pytest.mark.case("Q07")
def test_old_asymmetric_checkpoints_are_refused_with_the_reason(
    folder: Path, refused: Callable[..., str]
) -> None:
    _old_layout(folder)
    checkpoints.edit(folder / "quantize_config.json", sym=False)
    assert "sym=false" in refused("--model", str(folder))


@pytest.mark.case("Q16")
def test_code_in_a_models_folder_is_never_run(
    tiny_llama: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "코드가 든 모델")
    marker = tmp_path / "실행됨"
    (folder / "modeling_x.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
    auto_map = {name: f"modeling_x.{name}" for name in ("AutoConfig", "AutoModelForCausalLM")}
    checkpoints.edit(folder / "config.json", model_type="xmodel", auto_map=auto_map)
    assert "코드" in refused("--model", str(folder))
    checkpoints.edit(folder / "config.json", model_type="llama")
    assert _answers(_options(folder)).usage.completion_tokens == 4
    assert not marker.exists()


class _Mine:
    """A pickle that leaves a marker where it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.case("Q17")
def test_pickled_weights_and_adapters_are_refused_unopened(
    tiny_llama: Path, tiny_lora: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    marker = tmp_path / "열림"
    model = shutil.copytree(tiny_llama, tmp_path / "모델")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Mine(marker)))
    adapter = shutil.copytree(tiny_lora, tmp_path / "어댑터")
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(pickle.dumps(_Mine(marker)))
    assert "피클" in refused("--model", str(model))
    for engine in ("auto", "transformers", "llamacpp"):
        flags = ("--engine", engine, "--peft_lora_dir", f"나={adapter}")
        assert "피클" in refused("--model", str(tiny_llama), *flags)
    assert not marker.exists()


@pytest.mark.case("Q19")
def test_settings_that_the_weights_contradict_are_refused(
    folder: Path, refused: Callable[..., str]
) -> None:
    for group in (-1, 64, 16):
        declared = {"quant_method": "gptq", "bits": 4, "group_size": group, "sym": True}
        checkpoints.edit(folder / "config.json", quantization_config=declared)
        said = refused("--model", str(folder))
        assert f"group_size {group}" in said
        assert "group_size 32" in said


@pytest.mark.case("K25")
def test_a_korean_llama_whose_config_names_the_slow_tokenizer_answers(
    tiny_llama: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "한국어 라마")
    named = {"tokenizer_class": "LlamaTokenizer", "backend": None}
    checkpoints.edit(folder / "tokenizer_config.json", **named)
    assert _answers(_options(folder)) == _answers(_options(tiny_llama))


def test_a_path_without_a_name_is_the_default_adapter(tiny_llama: Path, tiny_lora: Path) -> None:
    plain = _answers(_options(tiny_llama))
    adapted = _answers(_options(tiny_llama, peft_lora_dir=(str(tiny_lora),)))
    named = _answers(_options(tiny_llama, peft_lora_dir=(f"나={tiny_lora}",)))
    assert plain == named != adapted


def test_a_gguf_adapter_is_refused_on_transformers_with_what_to_do(
    tiny_llama: Path, tmp_path: Path
) -> None:
    gguf = tmp_path / "어댑터.gguf"
    gguf.write_bytes(b"GGUF")
    with pytest.raises(OptionError, match="llamacpp"):
        opening.check(_options(tiny_llama, peft_lora_dir=(f"나={gguf}",)))
