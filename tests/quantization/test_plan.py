"""What is refused or told before a quantisation starts, with numbers and the way out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tiny
from lightkorllm import checkpoint, memory, quantization
from lightkorllm.cli import main
from lightkorllm.errors import ModelBroken, NotEnough, OptionError
from lightkorllm.memory import GIB, Space
from lightkorllm.quantization import QuantizeOptions, plan
from lightkorllm.quantization.calibration import Calibration


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "작은-모델", hidden=192)


def _options(model: Path, **changes: object) -> QuantizeOptions:
    small = QuantizeOptions(str(model), group_size=64, samples=4, sequence_length=64)
    return replace(small, **changes)  # type: ignore[arg-type]


@pytest.mark.case("Q03")
def test_a_group_size_that_divides_no_layer_is_refused_with_the_ones_that_do(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", "--model", str(model), "--group_size", "128", "--dry_run"]) == 2
    told = capsys.readouterr().err
    assert "192" in told
    assert "gate_proj" in told
    assert "16, 32, 64, -1" in told
    assert "Traceback" not in told


@pytest.mark.case("Q03")
@pytest.mark.parametrize("size", [-1, 16, 32, 64])
def test_group_sizes_that_divide_every_layer_pass(model: Path, size: int) -> None:
    assert quantization.prepare(_options(model, group_size=size)).plan.layers == 14


def test_a_dry_run_tells_the_numbers_and_writes_nothing(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quantize", "--model", str(model), "--group_size", "64", "--dry_run"]) == 0
    told = capsys.readouterr().out
    for word in ("메모리", "디스크", "보정", "lightkor", "작은-모델-gptq-4bit"):
        assert word in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.case("Q01")
def test_too_little_calibration_text_is_told_with_the_minimum(model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "두줄.jsonl"
    rows.write_text('{"text": "안녕"}\n{"text": "반가워"}\n', encoding="utf-8")
    job = quantization.prepare(_options(model, calibration=str(rows)))
    (note,) = (line for line in job.plan.notes if "경고" in line)
    assert "384" in note  # the widest input of a layer


@pytest.mark.case("Q09")
def test_too_little_memory_is_told_before_anything_is_loaded(model: Path) -> None:
    job = quantization.prepare(_options(model))
    with pytest.raises(NotEnough, match=r"--samples") as told:
        plan.require_space(job.plan, job.output, ram=Space(8 * GIB, 1000), disk=Space(GIB, GIB))
    assert memory.text(job.plan.memory) in told.value.message


@pytest.mark.case("Q09")
def test_too_little_disk_is_told_before_anything_is_loaded(model: Path) -> None:
    job = quantization.prepare(_options(model))
    with pytest.raises(NotEnough, match="디스크"):
        plan.require_space(job.plan, job.output, ram=None, disk=Space(GIB, 1000))


def test_memory_grows_with_the_calibration_and_the_output_shrinks_with_the_bits(
    model: Path,
) -> None:
    small = quantization.prepare(_options(model, samples=2)).plan
    large = quantization.prepare(_options(model, samples=64)).plan
    eight = quantization.prepare(_options(model, bits=8)).plan
    assert small.memory < large.memory
    assert small.output < eight.output


def test_a_7b_llama_needs_what_its_shape_says() -> None:
    """Llama-2-Ko 7B: 6.9 G weights; its 4-bit file is 3.9 to 4.1 GB (published: about 3.9 GB)."""
    hidden, inner, vocabulary = 4096, 11008, 46336
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, hidden),
              "self_attn.v_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden),
              "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
              "mlp.down_proj": (hidden, inner)}  # fmt: skip
    tensors = {
        f"model.layers.{layer}.{name}.weight": _tensor(shape)
        for layer in range(32)
        for name, shape in shapes.items()
    }
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = _tensor((vocabulary, hidden))
    seven = checkpoint.Checkpoint(Path("7b"), {"hidden_size": hidden}, (), tensors)
    job = plan.make(
        QuantizeOptions("7b", tune_steps=0), seven, _texts(), device="cpu", dtype="float16"
    )
    assert 3.6 * GIB < job.output < 4.1 * GIB
    assert 13 * GIB < job.memory < 18 * GIB


def _tensor(shape: tuple[int, int]) -> checkpoint.Tensor:
    return checkpoint.Tensor("F16", shape, Path("x"), 0, 2 * shape[0] * shape[1])


def _texts() -> Calibration:
    row = tuple(range(512))
    return Calibration((row,) * 128, 128, 0, "", "글")


def test_a_model_that_is_quantised_already_is_refused(model: Path, tmp_path: Path) -> None:
    packed = tmp_path / "gptq"
    packed.mkdir()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    (packed / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (packed / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    layer = {
        "model.layers.0.mlp.up_proj.qweight": torch.zeros(8, 64, dtype=torch.int32),
        "model.layers.0.mlp.up_proj.scales": torch.ones(2, 64, dtype=torch.float16),
        "model.layers.0.mlp.up_proj.qzeros": torch.zeros(2, 8, dtype=torch.int32),
    }
    save_file(layer, packed / "model.safetensors")
    with pytest.raises(ModelBroken, match="이미 4비트"):
        quantization.prepare(_options(packed))


@pytest.mark.case("Q16")
def test_a_model_that_needs_its_own_code_is_refused_and_the_code_never_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, marker = tmp_path / "remote", tmp_path / "ran"
    folder.mkdir()
    config = {"model_type": "내가만든것", "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_x.py").write_text(f"open({str(marker)!r}, 'w')", encoding="utf-8")
    save_file({"model.layers.0.w.weight": torch.zeros(8, 8)}, folder / "model.safetensors")
    assert main(["quantize", "--model", str(folder)]) == 2
    assert "코드" in capsys.readouterr().err
    assert not marker.exists()


@pytest.mark.case("Q17")
def test_pickled_weights_are_refused_unopened(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04would run code")
    with pytest.raises(ModelBroken, match="피클"):
        quantization.prepare(QuantizeOptions(str(tmp_path)))


@pytest.mark.case("Q10")
def test_a_finished_folder_is_never_overwritten_unasked(model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(OptionError, match="--overwrite"):
        quantization.prepare(_options(model, quantized_model_dir=tmp_path / "mine"))
    with pytest.raises(OptionError, match="원본"):
        quantization.prepare(_options(model, quantized_model_dir=model, overwrite=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [("samples", 0), ("sequence_length", 4), ("damp_percent", 1.5), ("group_size", 0),
     ("english_share", 2.0), ("batch_size", 0), ("report_tokens", -1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"--{name}"):
        QuantizeOptions("x", **{name: value})  # type: ignore[arg-type]


def test_no_model_and_no_such_model_are_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quantize"]) == 2
    assert "--model" in capsys.readouterr().err
    assert main(["quantize", "--model", "없는/폴더"]) == 2
    assert "없는/폴더" in capsys.readouterr().err


def test_resuming_is_promised_only_where_the_library_can(model: Path) -> None:
    job = quantization.prepare(_options(model))
    assert job.resumable
    assert any("이어" in line for line in job.lines())
    other = replace(job, checkpoint=replace(job.checkpoint, config={"model_type": "gemma3_text"}))
    assert any("처음부터" in line and "gemma3_text" in line for line in other.lines())


@pytest.mark.case("Q12")
def test_a_tokenizer_without_a_pad_token_is_fine_and_eos_keeps_its_meaning(model: Path) -> None:
    told = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert told.get("pad_token") is None
    job = quantization.prepare(_options(model))
    assert len(job.calibration.rows) == 4
