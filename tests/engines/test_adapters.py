"""Adapters of all kinds over bases of all kinds: the same answers, or a clear refusal."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from lightkorllm import embedded, record, repacking
from lightkorllm.engines import adapters, opening
from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
from lightkorllm.errors import MissingPackage, ModelBroken, ModelNotFound, OptionError
from lightkorllm.fingerprint import fingerprint
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams
from lightkorllm.options import ChatOptions
from lightkorllm.record import Record

PROMPT = "대한민국의 수도는 서울이고 가장 큰 도시이다. " * 4


@pytest.fixture(scope="session")
def tiny_gguf(tiny_llama: Path) -> Path:
    """The tiny LLaMA as a GGUF file."""
    return repacking.to_gguf(tiny_llama, tiny_llama.with_name("작은 라마.gguf")).path


@pytest.fixture(scope="session")
def tiny_gguf_lora(tiny_llama: Path, tiny_lora: Path) -> Path:
    """Its adapter as a GGUF file."""
    target = tiny_lora.with_name("작은 로라.gguf")
    return repacking.adapter_to_gguf(tiny_lora, target, base=tiny_llama).path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))


def _options(model: Path, *adapters: object, **more: Any) -> ChatOptions:
    return ChatOptions(
        quantized_model_dir=str(model),
        peft_lora_dir=tuple(map(str, adapters)),
        **{"device": "cpu", "n_parallel": 1, "context_length": 256, "threads": 1, **more},
    )


def _answer(options: ChatOptions, adapter: str | None = None) -> str:
    params = SamplingParams(max_tokens=8, temperature=0)
    with closing(opening.open_engine(options)) as engine:
        return Reply.join(engine.stream(GenerationRequest(PROMPT, params, adapter))).text


def test_a_peft_folder_answers_alike_over_the_folder_and_the_gguf_file(
    tiny_llama: Path, tiny_gguf: Path, tiny_lora: Path, tiny_gguf_lora: Path
) -> None:
    over_the_folder = _answer(_options(tiny_llama, tiny_lora, engine="llamacpp"))
    assert _answer(_options(tiny_gguf, tiny_lora)) == over_the_folder
    assert _answer(_options(tiny_gguf, tiny_gguf_lora)) == over_the_folder
    assert _answer(_options(tiny_gguf, tiny_lora), "none") != over_the_folder


def test_over_a_gguf_file_the_gguf_file_in_the_folder_is_taken(
    tiny_gguf: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_lora, tmp_path / "어댑터")
    shutil.copy(_other_adapter(tiny_gguf, tiny_lora, tmp_path), folder / "adapter.gguf")
    taken = _answer(_options(tiny_gguf, folder))
    assert taken == _answer(_options(tiny_gguf, folder / "adapter.gguf"))
    assert taken != _answer(_options(tiny_gguf, tiny_lora))


def _other_adapter(base: Path, like: Path, tmp_path: Path) -> Path:
    """A GGUF adapter of the same base with other numbers."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(like, tmp_path / "반대로")
    weights = load_file(folder / "adapter_model.safetensors")
    turned = {name: -weight if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(turned, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return repacking.adapter_to_gguf(folder, tmp_path / "반대로.gguf", base=base).path


@pytest.mark.case("S48")
def test_llama_cpp_never_goes_on_from_a_prompt_that_another_adapter_computed(
    tiny_llama: Path, tiny_gguf: Path, tiny_gguf_lora: Path, tmp_path: Path
) -> None:
    other = checkpoints.lora(tiny_llama, tmp_path / "둘", seed=2)
    files = {
        "하나": tiny_gguf_lora,
        "둘": repacking.adapter_to_gguf(other, tmp_path / "둘.gguf", base=tiny_gguf).path,
    }
    settings = LlamaCppSettings(
        tiny_gguf, context_length=512, n_parallel=1, threads=1, adapters=files
    )

    def ask(engine: LlamaCppEngine, prompt: str, adapter: str) -> str:
        params = SamplingParams(max_tokens=8, temperature=0)
        return Reply.join(engine.stream(GenerationRequest(prompt, params, adapter))).text

    with closing(LlamaCppEngine(settings)) as engine:
        fresh = ask(engine, PROMPT, "둘")
    with closing(LlamaCppEngine(settings)) as engine:
        ask(engine, PROMPT, "하나")
        ask(engine, "전혀 다르게 시작하는 글이 그 자리를 차지합니다. " * 4, "둘")
        assert ask(engine, PROMPT, "둘") == fresh


@pytest.mark.case("F11")
@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
def test_an_adapter_of_another_width_is_refused_with_both_names_and_shapes(
    tiny_llama: Path, tmp_path: Path, refused: Callable[..., str], engine: str
) -> None:
    other = checkpoints.llama(tmp_path / "넓은 모델", hidden=96)
    adapter = checkpoints.lora(other, tmp_path / "어댑터")
    said = refused(
        "--model", str(tiny_llama), "--engine", engine, "--peft_lora_dir", f"나={adapter}"
    )
    for word in ("넓은 모델", "tiny-llama", "96×96", "64×64", "q_proj"):
        assert word in said


@pytest.mark.case("F11")
@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
@pytest.mark.parametrize("tensor", ["lm_head.weight", "model.embed_tokens.base_layer.weight"])
def test_an_adapter_of_a_wider_vocabulary_is_refused_with_both_sizes(
    tiny_llama: Path,
    tiny_lora: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    engine: str,
    tensor: str,
) -> None:
    import torch

    adapter = shutil.copytree(tiny_lora, tmp_path / "늘린 어휘")
    checkpoints.edit(adapter / "adapter_config.json", base_model_name_or_path="한국어/라마-46k")
    _add(adapter, {f"base_model.model.{tensor}": torch.zeros(46_336, 64)})
    said = refused(
        "--model", str(tiny_llama), "--engine", engine, "--peft_lora_dir", f"나={adapter}"
    )
    for word in ("한국어/라마-46k", "tiny-llama", "46336×64", "600×64", "어휘"):
        assert word in said


def _add(folder: Path, more: dict[str, Any]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    save_file({**weights, **more}, folder / "adapter_model.safetensors")


def _rename(folder: Path, old: str, new: str, *, most: int = 1000) -> None:
    from safetensors.torch import load_file, save_file

    found = sorted(load_file(folder / "adapter_model.safetensors").items())
    weights = {
        name.replace(old, new) if number < most else name: weight
        for number, (name, weight) in enumerate(found)
    }
    save_file(weights, folder / "adapter_model.safetensors")


@pytest.mark.case("F10")
@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
@pytest.mark.parametrize(
    ("old", "new", "most"),
    [
        ("base_model.model.model.", "base_model.model.transformer.", 1000),
        ("base_model.model.model.", "base_model.model.", 1000),
        (".layers.", ".blocks.", 2),
    ],
    ids=["other prefix", "no prefix", "one layer"],
)
def test_an_adapter_whose_names_match_no_layer_is_refused_with_counts(
    tiny_llama: Path,
    tiny_lora: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    engine: str,
    old: str,
    new: str,
    most: int,
) -> None:
    adapter = shutil.copytree(tiny_lora, tmp_path / "이름이 바뀐 어댑터")
    _rename(adapter, old, new, most=most)
    said = refused(
        "--model", str(tiny_llama), "--engine", engine, "--peft_lora_dir", f"나={adapter}"
    )
    assert f"4개 가운데 {min(most // 2, 4)}개" in said
    assert "tiny-llama" in said


@pytest.mark.case("F10")
def test_weights_that_peft_would_pass_over_in_silence_are_refused(
    tiny_llama: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    adapter = shutil.copytree(tiny_lora, tmp_path / "어댑터")
    _rename(adapter, "lora_A.weight", "lora_A.default.weight")
    with pytest.raises(ModelBroken, match=r"8개 가운데 4개"):
        opening.open_engine(_options(tiny_llama, adapter, engine="transformers"))


@pytest.mark.case("F10")
def test_layers_that_the_config_names_and_the_file_lacks_are_refused(
    tiny_llama: Path, tiny_lora: Path, tmp_path: Path
) -> None:
    adapter = shutil.copytree(tiny_lora, tmp_path / "어댑터")
    targets = ["q_proj", "v_proj", "o_proj"]
    checkpoints.edit(adapter / "adapter_config.json", target_modules=targets)
    with pytest.raises(ModelBroken, match="o_proj"):
        opening.open_engine(_options(tiny_llama, adapter, engine="transformers"))


def test_an_adapter_without_any_known_weight_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    adapter = checkpoints.lora(tiny_llama, tmp_path / "어댑터", layers=("no_such_proj",))
    with pytest.raises(ModelBroken, match="LoRA 가중치가 없습니다"):
        opening.open_engine(_options(tiny_llama, adapter))


@pytest.mark.case("F10", "F11")
def test_gguf_adapters_of_another_model_are_refused_over_gguf_files(
    tiny_gguf: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    wide = checkpoints.llama(tmp_path / "넓은 모델", hidden=96)
    deep = checkpoints.llama(tmp_path / "깊은 모델", layers=3)
    qwen = checkpoints.qwen3(tmp_path / "큐웬")
    for base, words in (
        (wide, ("96×96", "64×64", "attn_q")),
        (deep, ("6개 가운데 2개", "blk.2.attn_q")),
        (qwen, ("qwen3", "llama")),
    ):
        folder = checkpoints.lora(base, tmp_path / f"{base.name}-어댑터")
        record.write(Record(base=base.name, method="lora"), folder)
        done = repacking.adapter_to_gguf(folder, tmp_path / f"{base.name}.gguf", base=base)
        said = refused("--model", str(tiny_gguf), "--peft_lora_dir", f"나={done.path}")
        for word in (base.name, "작은 라마", *words):
            assert word in said


def test_a_model_is_no_adapter(
    tiny_gguf: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "어댑터가 아닙니다" in refused(
        "--model", str(tiny_gguf), "--peft_lora_dir", f"나={tiny_gguf}"
    )
    with pytest.raises(ModelNotFound, match="없는 것"):
        opening.check(_options(tiny_gguf, f"나={tmp_path / '없는 것'}"))


def test_another_base_of_the_same_shape_is_told_and_served(
    tiny_llama: Path, tiny_lora: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = shutil.copytree(tiny_lora, tmp_path / "어댑터")
    for base, warned in ((fingerprint(tiny_llama), False), ("0" * 64, True)):
        made = Record(base="비슷한 라마", method="lora", settings={"base_fingerprint": base})
        record.write(made, adapter)
        caplog.clear()
        assert _answer(_options(tiny_llama, adapter, engine="transformers"))
        assert ("비슷한 라마" in caplog.text) == warned


@pytest.mark.parametrize("names", ["lora", "v1.5", "a", "이름 1"])
def test_an_adapter_may_have_any_name(tiny_llama: Path, tiny_lora: Path, names: str) -> None:
    options = _options(
        tiny_llama, f"{names}={tiny_lora}", f"{names}0={tiny_lora}", engine="transformers"
    )
    assert _answer(options, names) == _answer(options, f"{names}0")


def test_names_that_could_not_be_told_apart_are_refused(tiny_llama: Path, tiny_lora: Path) -> None:
    for texts, word in (
        ((f"none={tiny_lora}",), "none"),
        (("none", f"나={tiny_lora}"), "none"),
        ((f"나={tiny_lora}", f"나={tiny_lora}"), "두 번"),
        ((f"{tiny_llama.name}={tiny_lora}",), "모델의 이름"),
    ):
        with pytest.raises(OptionError, match=word):
            opening.check(_options(tiny_llama, *texts))


def test_without_the_package_that_converts_it_is_named(
    tiny_gguf: Path, tiny_lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gguf" else found(name)
    )
    with pytest.raises(MissingPackage, match=r"lightkorllm\[gptq\]"):
        opening.open_engine(_options(tiny_gguf, tiny_lora))


@pytest.fixture
def shipped(tiny_lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the embedded model's own adapter."""
    folder = shutil.copytree(tiny_lora, tmp_path / "embedded_adapter")
    record.write(Record(base="gemma-3-270m", method="lora", prompt_format="lightkor"), folder)
    monkeypatch.setattr(embedded, "_ADAPTER_FOLDER", folder)
    return folder


def test_the_embedded_model_comes_with_its_adapter_unless_told_otherwise(
    shipped: Path, tiny_llama: Path, tiny_lora: Path
) -> None:
    assert embedded.adapter() == shipped
    alone = adapters.wanted(ChatOptions())
    assert (list(alone.named), alone.default) == (["korean"], "korean")
    assert alone.named["korean"].path == shipped
    for options in (ChatOptions(peft_lora_dir=("none",)), _options(tiny_llama)):
        assert not adapters.wanted(options).named
    own = adapters.wanted(ChatOptions(peft_lora_dir=(f"나={tiny_lora}",)))
    assert (list(own.named), own.default) == (["나"], None)


def test_without_its_folder_the_embedded_model_is_served_bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_ADAPTER_FOLDER", tmp_path / "없음")
    assert embedded.adapter() is None
    assert not adapters.wanted(ChatOptions()).named
