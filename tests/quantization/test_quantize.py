"""Real runs of GPTQModel on tiny models: a whole folder or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lightkorllm
import tiny
from lightkorllm import checkpoint, pretrained, quantization, record
from lightkorllm.cli import main
from lightkorllm.quantization import Quantised, QuantizeOptions


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.llama(tmp_path_factory.mktemp("models") / "작은-모델")
    (folder / "LICENSE").write_text("이 모델의 라이선스", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Quantised:
    """One finished quantisation that several tests look at."""
    output = tmp_path_factory.mktemp("out") / "작은-모델-4bit"
    return lightkorllm.quantize(
        str(model), str(output), group_size=32, samples=40, sequence_length=256, report_tokens=200
    )


def test_the_folder_is_complete_in_itself(done: Quantised, model: Path) -> None:
    names = {file.name for file in done.folder.iterdir()}
    assert {"config.json", "quantize_config.json", "model.safetensors", "lightkorllm.json",
            "README.md", "report.json", "report.md", "report.png", "generation_config.json",
            "LICENSE"} <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".log", ".csv"))]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (done.folder / name).read_bytes() == (model / name).read_bytes()


def test_nothing_is_left_beside_it(done: Quantised) -> None:
    assert [path.name for path in done.folder.parent.iterdir()] == [done.folder.name]


def test_the_checkpoint_reads_as_what_was_asked_for(done: Quantised) -> None:
    found = checkpoint.read(done.folder)
    assert found.gptq == checkpoint.Gptq(4, 32, sym=True, desc_act=False)
    assert len(found.quantised_layers()) == 14
    assert {t.dtype for name, t in found.tensors.items() if name.endswith("scales")} == {"F16"}
    assert found.tensors["model.embed_tokens.weight"].dtype in ("F16", "BF16")


def test_no_path_of_this_machine_is_in_it(done: Quantised, model: Path) -> None:
    for file in done.folder.glob("*.json"):
        text = file.read_text(encoding="utf-8")
        assert str(model.parent) not in text
        assert str(done.folder.parent) not in text
        assert "/tmp/" not in text


def test_the_weights_are_close_to_the_originals(done: Quantised, model: Path) -> None:
    """A weight is at most half a step from its place but for what GPTQ shifts on purpose."""
    from lightkorllm.repacking import gptq

    found, original = checkpoint.read(done.folder), load_file(model / "model.safetensors")
    for name in found.quantised_layers():
        wanted = original[f"{name}.weight"].float()
        got = torch.from_numpy(gptq.layer(found, name).weights())
        assert torch.nn.functional.cosine_similarity(wanted, got).min() > 0.98


def test_the_record_says_how_it_was_made(done: Quantised) -> None:
    written = record.read(done.folder)
    assert written == done.record
    assert written is not None
    assert written.method == "gptq"
    assert written.base == "작은-모델"
    assert written.prompt_format == "lightkor"
    assert written.settings["group_size"] == 32
    assert written.versions["gptqmodel"]
    assert 0.8 < written.scores["perplexity_ratio_ko"] < 1.2
    assert written.settings["tune_steps"] == 48
    before, after = (written.scores[f"divergence_{when}_tuning"] for when in ("before", "after"))
    assert after <= before


def test_the_report_measures_both_languages(done: Quantised) -> None:
    told = json.loads((done.folder / "report.json").read_text(encoding="utf-8"))
    assert [sample["language"] for sample in told["samples"]] == ["ko", "en"]
    for sample in told["samples"]:
        assert sample["b"]["tokens"] == 200
        assert 0 <= sample["drift"]["kl_divergence"] < 0.1
        assert 0.5 < sample["drift"]["top1_agreement"] <= 1
    assert told["facts"]["peak_memory_bytes"] > 10**8
    assert told["facts"]["quantised_bytes"] < told["facts"]["original_bytes"]


def test_the_model_card_is_korean_and_runnable(done: Quantised) -> None:
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlanguage:\n- ko\n")
    assert "lightkorllm serve --model ./작은-모델-4bit" in card
    assert done.report is not None
    assert done.report.table() in card
    assert "$" not in card


@pytest.mark.case("Q12")
def test_eos_and_pad_are_what_they_were(done: Quantised) -> None:
    config = json.loads((done.folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["eos_token"] == "</s>"
    assert config.get("pad_token") is None
    assert pretrained.load_tokenizer(done.folder).pad_token != "</s>"


@pytest.mark.case("Q01")
def test_two_short_rows_still_give_a_model_and_a_warning(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "두줄.jsonl"
    rows.write_text('{"text": "안녕"}\n{"text": "반가워"}\n', encoding="utf-8")
    output = tmp_path / "out"
    code = main([
        "quantize", "--model", str(model), "--output_dir", str(output), "--group_size", "32",
        "--calibration", str(rows), "--report_tokens", "0",
    ])  # fmt: skip
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "보정 글이 적습니다" in told.out
    assert "LinAlg" not in told.out + told.err
    assert checkpoint.read(output).gptq


@pytest.mark.case("Q02")
def test_a_weight_that_is_not_a_number_ends_the_run_and_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, output = tmp_path / "broken", tmp_path / "out"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((model / name).read_bytes())
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    code = main([
        "quantize", "--model", str(broken), "--output_dir", str(output), "--group_size", "32",
        "--samples", "4", "--sequence_length", "64",
    ])  # fmt: skip
    told = capsys.readouterr().err
    assert code == 1
    assert "model.layers.1.mlp.up_proj" in told
    assert "Traceback" not in told
    assert not output.exists()


@pytest.mark.chain
@pytest.mark.case("Q10")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_off_leaves_no_folder_and_goes_on_behind_its_last_layer(
    tmp_path: Path, how: signal.Signals
) -> None:
    model = tiny.llama(tmp_path / "model", layers=40)
    output = tmp_path / "out"
    command = [
        sys.executable, "-m", "lightkorllm", "quantize", "--model", str(model),
        "--output_dir", str(output), "--group_size", "32", "--samples", "16",
        "--sequence_length", "64", "--report_tokens", "0",
    ]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    store = tmp_path / "out.partial" / "resume"
    _wait_for(lambda: len(list(store.glob("*/objects/*"))) > 20)
    run.send_signal(how)
    run.communicate(timeout=30)
    assert not output.exists()
    assert store.exists()
    options = QuantizeOptions(
        str(model), output, group_size=32, samples=16, sequence_length=64, report_tokens=0
    )
    again = quantization.steps(quantization.prepare(options))
    finished = [step.done for step in again if step.phase == "quantise" and step.done]
    assert finished[0] > 1  # the first layers were not done again
    assert finished[-1] == 40
    assert checkpoint.read(output).gptq
    assert not (tmp_path / "out.partial").exists()


def _wait_for(condition: object) -> None:
    until = time.monotonic() + 120
    assert callable(condition)
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
