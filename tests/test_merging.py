"""Merging: one folder that answers as base and adapter together did, or a refusal that explains."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import checkpoints
from lightkorllm import checkpoint, cli, memory, merging, pretrained, record, repacking
from lightkorllm.chat import open_chat
from lightkorllm.conversation import Conversation
from lightkorllm.engines import peft_adapters
from lightkorllm.errors import ModelBroken, NotEnough, OptionError
from lightkorllm.generation import SamplingParams
from lightkorllm.merging import MergeOptions
from lightkorllm.options import ChatOptions
from lightkorllm.record import Record

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoints.llama(tmp_path_factory.mktemp("models") / "바탕 모델")
    checkpoints.edit(folder / "generation_config.json", temperature=0.6, do_sample=True)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    (folder / "LICENSE").write_text("이용 조건", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    folder = checkpoints.lora(base, base.with_name("말투"), layers=ALL)
    made = Record(
        base="바탕 모델", method="lora", prompt_format="koalpaca", scores={"held_out_loss": 1.5}
    )
    record.write(made, folder)
    return folder


def _options(base: Path, adapter: Path, output: Path, **more: Any) -> MergeOptions:
    return MergeOptions(str(base), str(adapter), output, **more)


def _logits(model: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([[5, 300, 17, 42, 599, 8]])).logits


def test_the_merged_model_has_the_logits_of_base_and_adapter(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    import torch

    done = merging.merge(_options(base, adapter, tmp_path / "합친 모델"))
    merged = pretrained.load_model(checkpoint.read(done.folder), device="cpu", dtype="float32")
    plain = pretrained.load_model(checkpoint.read(base), device="cpu", dtype="float32")
    bare = _logits(plain)
    both = peft_adapters.attach(plain, {"adapter": adapter}, base="바탕 모델")
    torch.testing.assert_close(_logits(merged), _logits(both), rtol=1e-4, atol=1e-3)
    assert not torch.allclose(_logits(merged), bare, atol=1.0)


def test_the_folder_is_complete_in_itself_and_keeps_the_adapters_prompt_format(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    output = merging.merge(_options(base, adapter, tmp_path / "합친 모델")).folder
    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json", "LICENSE"):
        assert (output / name).read_bytes() == (base / name).read_bytes()
    kept = record.read(output)
    assert kept
    assert (kept.base, kept.method, kept.prompt_format) == ("바탕 모델", "merged", "koalpaca")
    assert (kept.settings["adapter"], kept.scores) == ("말투", {"held_out_loss": 1.5})
    assert [path.name for path in tmp_path.iterdir()] == ["합친 모델"]
    assert str(tmp_path) not in (output / "config.json").read_text(encoding="utf-8")
    options = ChatOptions(
        quantized_model_dir=str(output), engine="transformers", device="cpu", threads=1
    )
    with closing(open_chat(options)) as chat:
        assert chat.prompt_format.name == "koalpaca"
        assert chat.reply(Conversation.ask("안녕?"), SamplingParams(max_tokens=2)).usage


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("auto", "F32"), ("bfloat16", "BF16"), ("float16", "F16")],
)
def test_the_number_type_is_the_bases_or_the_one_asked_for(
    base: Path, adapter: Path, tmp_path: Path, dtype: Any, stored: str
) -> None:
    output = merging.merge(_options(base, adapter, tmp_path / "합침", dtype=dtype)).folder
    assert {tensor.dtype for tensor in checkpoint.read(output).tensors.values()} == {stored}


@pytest.mark.case("F08")
@pytest.mark.parametrize("kind", ["gptq", "gguf", "folder of a gguf"])
def test_a_quantised_base_is_refused_with_the_two_ways_there_are(
    base: Path, adapter: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "gptq":
        model = checkpoints.gptq(base, tmp_path / "4비트")
    else:
        model = repacking.to_gguf(base, tmp_path / "폴더" / "모델.gguf").path
        model = model.parent if kind != "gguf" else model
    flags = ["--base_model_dir", str(model), "--peft_lora_dir", str(adapter)]
    assert cli.main(["merge", *flags, "--output_dir", str(tmp_path / "결과")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("오류: --base_model_dir")
    for word in ("lightkorllm serve", "--peft_lora_dir", "원본", "lightkorllm quantize"):
        assert word in said[-1]
    assert "Traceback" not in "".join(said)
    assert not (tmp_path / "결과").exists()


def test_an_adapter_of_another_model_is_refused_before_anything_is_loaded(
    base: Path, tmp_path: Path
) -> None:
    other = checkpoints.llama(tmp_path / "넓은 모델", hidden=96)
    adapter = checkpoints.lora(other, tmp_path / "어댑터")
    with pytest.raises(ModelBroken, match=r"넓은 모델.*바탕 모델.*96×96.*64×64"):
        merging.prepare(_options(base, adapter, tmp_path / "결과"))


def test_an_output_that_is_there_stays_unless_it_may_go(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    output = tmp_path / "결과"
    output.mkdir()
    (output / "소중한 글.txt").write_text("글", encoding="utf-8")
    with pytest.raises(OptionError, match="--overwrite"):
        merging.merge(_options(base, adapter, output))
    for own in (base, adapter):
        with pytest.raises(OptionError, match="--output_dir"):
            merging.prepare(_options(base, adapter, own, overwrite=True))
    assert (output / "소중한 글.txt").is_file()
    merging.merge(_options(base, adapter, output, overwrite=True))
    assert not (output / "소중한 글.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["결과"]


def test_a_merge_that_breaks_off_leaves_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(adapter, tmp_path / "망가진 어댑터")
    weights = load_file(broken / "adapter_model.safetensors")
    weights |= {name: weight * torch.inf for name, weight in weights.items() if "lora_B" in name}
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(ModelBroken, match="수가 아닌"):
        merging.merge(_options(base, broken, tmp_path / "결과"))
    assert [path.name for path in tmp_path.iterdir()] == ["망가진 어댑터"]


def test_an_embedding_that_is_also_the_output_is_not_half_changed(tmp_path: Path) -> None:
    tied = checkpoints.llama(tmp_path / "묶인 모델", tie_word_embeddings=True)
    adapter = checkpoints.lora(tied, tmp_path / "어댑터", layers=("q_proj", "embed_tokens"))
    with pytest.raises(ModelBroken, match=r"embed_tokens.*한 행렬"):
        merging.prepare(_options(tied, adapter, tmp_path / "결과"))


def test_too_little_disk_is_told_with_both_numbers(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "disk", lambda path: memory.Space(8 << 30, 100 << 10))
    with pytest.raises(NotEnough, match=r"1 MB.*0 MB"):
        merging.prepare(_options(base, adapter, tmp_path / "결과"))


def test_the_command_tells_what_it_made_and_how_to_try_it(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(base), "--peft_lora_dir", str(adapter)]
    assert cli.main(["merge", *flags, "--output_dir", str(tmp_path / "결과")]) == 0
    said = capsys.readouterr().out
    assert f"lightkorllm serve --model {tmp_path / '결과'}" in said
    assert cli.main(["merge", "--model", str(base)]) == 2
    assert "--peft_lora_dir" in capsys.readouterr().err
