"""Real runs of PEFT and the Trainer on tiny models: a whole adapter folder or nothing."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gguf
import peft
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import lightkorllm
from finetunes import SHORT, options
from lightkorllm import checkpoint, finetuning, plotting, pretrained, record
from lightkorllm.cli import main
from lightkorllm.errors import DataBroken, FinetuningFailed, NotEnough, OptionError
from lightkorllm.finetuning import Finetuned, FinetuneOptions, best, packing, training
from lightkorllm.memory import Space

TRAINER = "lightkorllm.finetuning.watched_trainer"


@pytest.fixture(scope="module")
def done(gptq: Path, talks: Path, tmp_path_factory: pytest.TempPathFactory) -> Finetuned:
    """One finished fine-tuning of a GPTQ model that several tests look at."""
    output = tmp_path_factory.mktemp("out") / "말투"
    return lightkorllm.finetune(str(gptq), str(talks), str(output), **SHORT)


@pytest.mark.case("F09")
def test_a_gptq_model_learns(done: Finetuned) -> None:
    weights = load_file(done.folder / "adapter_model.safetensors")
    changed = [tensor.abs().max() > 0 for name, tensor in weights.items() if ".lora_B." in name]
    assert len(changed) == 8  # q, k, v and o of two layers
    assert all(changed)
    losses = [point.loss for point in done.outcome.points if point.loss is not None]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    scores = done.record.scores
    assert scores["held_out_loss"] < scores["held_out_loss_before"]


@pytest.mark.case("F09")
def test_packed_weights_learn_with_a_kernel_that_has_a_backward_pass(
    gptq: Path, talks: Path, tmp_path: Path
) -> None:
    told = options(gptq, talks, tmp_path / "밖", kernel="packed", dtype="auto", max_train_step=5)
    done = finetuning.finetune(told)
    assert done.record.settings["kernel"].startswith("GPTQModel ")
    assert done.record.settings["kernel"].endswith(" float32")
    scores = done.record.scores
    assert scores["held_out_loss"] < scores["held_out_loss_before"]


def test_the_folder_explains_itself(done: Finetuned, gptq: Path) -> None:
    names = {file.name for file in done.folder.iterdir()}
    assert names == {
        "adapter_model.safetensors", "adapter_config.json", "adapter.gguf", "lightkorllm.json",
        "README.md", "samples.md", "loss.png", "history.json",
    }  # fmt: skip
    assert [path.name for path in done.folder.parent.iterdir()] == [done.folder.name]
    told = record.read(done.folder)
    assert told == done.record
    assert (told.base, told.method, told.prompt_format) == (gptq.name, "lora", "lightkor")
    assert told.settings["modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert len(told.settings["base_fingerprint"]) == len(told.data_fingerprint) == 64
    assert json.loads((done.folder / "history.json").read_text(encoding="utf-8"))[0]["step"] == 1
    for file in ("README.md", "lightkorllm.json", "adapter_config.json"):
        assert str(gptq.parent) not in (done.folder / file).read_text(encoding="utf-8")


def test_the_answers_stand_side_by_side(done: Finetuned) -> None:
    lines = (done.folder / "samples.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| 질문 | 배우기 전 | 배운 뒤 |"
    assert len(lines) == 2 + 2


def test_the_same_adapter_lies_there_for_llamacpp(done: Finetuned) -> None:
    """The same numbers in half precision, in both files."""
    reader = gguf.GGUFReader(done.folder / "adapter.gguf")
    there = {tensor.name: tensor for tensor in reader.tensors}
    weights = load_file(done.folder / "adapter_model.safetensors")
    assert len(there) == len(weights) == 16
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    ours = weights["base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"].numpy()
    theirs = there["blk.1.attn_v.weight.lora_b"].data
    assert theirs.dtype == ours.dtype
    assert (theirs == ours).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_of_a_run_that_learns_by_heart_the_best_adapter_is_kept(
    plain: Path, talks: Path, tmp_path: Path, keep: str
) -> None:
    """Forty steps over the same few rows: what was held out gets worse in the end."""
    told = options(
        plain,
        talks,
        tmp_path / "밖",
        max_train_step=40,
        eval_steps=4,
        learning_rate=5e-2,
        keep=keep,
    )
    done = finetuning.finetune(told)
    losses = {p.step: p.held_out for p in done.outcome.points if p.held_out is not None}
    best = min(losses, key=lambda step: losses[step] or 0.0)
    assert best < 40
    wanted = best if keep == "best" else 40
    assert done.record.settings["kept_step"] == wanted
    assert done.record.scores["held_out_loss"] == pytest.approx(losses[wanted], abs=1e-4)
    assert bool(done.notes) is (keep == "best")
    assert _loss_of(done, plain, talks) == pytest.approx(losses[wanted], rel=2e-3)


def test_a_held_out_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    for step, (weight, loss) in enumerate([(1.0, 2.0), (2.0, math.nan), (3.0, 2.5)], start=1):
        torch.nn.init.constant_(model.weight, weight)
        best.keep(model, tmp_path, step=step, loss=loss)
    assert best.put_back(model, tmp_path) == 1
    assert model.weight.item() == 1.0


def _loss_of(done: Finetuned, base: Path, talks: Path) -> float | None:
    """The held-out loss of the adapter as it lies in its folder."""
    model = pretrained.load_model(checkpoint.read(base), device="cpu", dtype="float32")
    with pretrained.deprecations_of_others():
        tuned = peft.PeftModel.from_pretrained(model, done.folder)
    job = finetuning.prepare(options(base, talks, done.folder.parent / "셈"))
    assert job.held_out is not None
    return training.held_out_loss(tuned, job.held_out.rows, job.settings)


@pytest.mark.parametrize("target", ["all", "q_proj, v_proj"])
def test_a_plain_model_learns_on_the_layers_that_were_asked_for(
    plain: Path, talks: Path, tmp_path: Path, target: str
) -> None:
    told = options(plain, talks, tmp_path / "밖", target_modules=target, max_train_step=2)
    modules = finetuning.finetune(told).record.settings["modules"]
    wanted = {
        "all": "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj",
        "q_proj, v_proj": "q_proj v_proj",
    }
    assert modules == wanted[target].split()


def test_layers_that_are_not_there_are_told(plain: Path, talks: Path, tmp_path: Path) -> None:
    told = options(plain, talks, tmp_path / "밖", target_modules="query_key_value")
    with pytest.raises(OptionError, match=r"query_key_value.*q_proj"):
        finetuning.finetune(told)
    assert not (tmp_path / "밖").exists()


def test_one_seed_gives_one_adapter(plain: Path, talks: Path, tmp_path: Path) -> None:
    runs = [
        finetuning.finetune(options(plain, talks, tmp_path / name, max_train_step=3))
        for name in ("하나", "둘")
    ]
    first, second = (load_file(run.folder / "adapter_model.safetensors") for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_memory_for_time_changes_no_loss(plain: Path, talks: Path, tmp_path: Path) -> None:
    losses = [
        finetuning.finetune(
            options(plain, talks, tmp_path / how, max_train_step=3, gradient_checkpointing=how)
        ).record.scores["held_out_loss"]
        for how in ("on", "off")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.case("F12")
def test_a_killed_run_goes_on_where_it_was(
    plain: Path, talks: Path, done: Finetuned, tmp_path: Path
) -> None:
    """kill -9 in the middle; the same command ends with the loss of an undisturbed run."""
    whole = finetuning.finetune(
        options(plain, talks, tmp_path / "온전", max_train_step=40, save_steps=5, seed=3)
    )
    command = [
        sys.executable, "-m", "lightkorllm", "finetune", "--base_model_dir", str(plain),
        "--dataset_dir", str(talks), "--train_output_dir", str(tmp_path / "끊김"),
        "--max_train_step", "40", "--save_steps", "5", "--seed", "3", "--train_batch_size", "4",
        "--gradient_accumulation_step", "1", "--learning_rate", "2e-2", "--max_length", "256",
        "--samples", "2", "--dtype", "float32", "--device", "cpu", "--force",
    ]  # fmt: skip
    state = tmp_path / "끊김.partial" / "checkpoints"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        _wait_for(lambda: training.last_checkpoint(state) is not None)
        os.kill(running.pid, signal.SIGKILL)
    reached = training.last_checkpoint(state)
    assert reached is not None
    at = int(reached.name.rpartition("-")[2])
    assert 5 <= at < 40
    assert not (tmp_path / "끊김").exists()
    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    assert f"끊긴 실행을 {at}단계 뒤부터 이어 갑니다." in ran.stdout
    told = record.read(tmp_path / "끊김")
    assert told is not None
    assert told.settings["steps"] == 40
    ours, theirs = told.scores, whole.record.scores
    assert ours["held_out_loss"] == pytest.approx(theirs["held_out_loss"], rel=0.01)
    history = json.loads((tmp_path / "끊김" / "history.json").read_text(encoding="utf-8"))
    steps = [point["step"] for point in history if "loss" in point]
    assert steps == list(range(1, 41))
    rates = {point["step"]: point["learning_rate"] for point in history if "loss" in point}
    assert rates[40] < rates[at] < rates[3]
    assert not state.parent.exists()


def _wait_for(holds: Any, *, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_another_run_does_not_go_on_from_it(plain: Path, talks: Path, tmp_path: Path) -> None:
    first = options(plain, talks, tmp_path / "밖", max_train_step=6, save_steps=1)
    _stop_after(first, steps=3)
    another = {"max_train_step": 6, "seed": 9}
    with pytest.raises(OptionError, match=r"밖\.partial.*--overwrite"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", **another))
    second = finetuning.prepare(options(plain, talks, tmp_path / "밖", overwrite=True, **another))
    assert "도중에 끊기면 같은 명령으로 이어 갑니다." in second.lines()
    same = finetuning.prepare(first)
    assert any("단계 뒤부터 이어 갑니다" in line for line in same.lines())


def test_an_interrupt_saves_what_was_learned(plain: Path, talks: Path, tmp_path: Path) -> None:
    told = options(plain, talks, tmp_path / "밖", max_train_step=30, save_steps=30)
    _stop_after(told, steps=3)
    assert not (tmp_path / "밖").exists()
    job = finetuning.prepare(told)
    assert any("단계 뒤부터 이어 갑니다" in line for line in job.lines())
    done = finetuning.finetune(told)
    assert done.outcome.first_step >= 3
    assert done.record.settings["steps"] == 30


def test_a_run_that_was_stopped_at_its_very_end_is_finished(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    told = options(plain, talks, tmp_path / "밖", max_train_step=4, save_steps=2)
    running = finetuning.steps(finetuning.prepare(told))
    for step in running:
        if step.phase == "finish":
            running.close()
    assert not (tmp_path / "밖").exists()
    done = finetuning.finetune(told)
    assert done.outcome.last_step == done.record.settings["steps"] == 4
    assert done.record.scores["held_out_loss"] < done.record.scores["held_out_loss_before"]
    weights = load_file(done.folder / "adapter_model.safetensors")
    assert all(value.any() for name, value in weights.items() if "lora_B" in name)


def _stop_after(told: FinetuneOptions, *, steps: int) -> None:
    running = finetuning.steps(finetuning.prepare(told))
    for step in running:
        if step.phase == "train" and step.done >= steps:
            with pytest.raises(KeyboardInterrupt):
                running.throw(KeyboardInterrupt)
            break


@pytest.mark.case("F18")
def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_adapter(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    real, calls = packing.nats, []

    def sick(model: Any, packed: Any) -> Any:
        calls.append(packed)
        return real(model, packed) * (math.nan if len(calls) > 4 else 1)

    monkeypatch.setattr(f"{TRAINER}.nats", sick)
    code = main(_arguments(plain, talks, tmp_path / "밖"))
    assert code == 1
    shown = capsys.readouterr().err
    assert "손실이 수가 아니게 되어" in shown
    assert "--learning_rate" in shown
    weights = load_file(tmp_path / "밖" / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)
    told = record.read(tmp_path / "밖")
    assert told is not None
    assert told.settings["steps"] < 12


def test_one_step_without_numbers_is_passed_over(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = packing.nats, []

    def once(model: Any, packed: Any) -> Any:
        calls.append(packed)
        return real(model, packed) * (math.inf if len(calls) == 3 else 1)

    monkeypatch.setattr(f"{TRAINER}.nats", once)
    done = finetuning.finetune(options(plain, talks, tmp_path / "밖"))
    assert done.outcome.last_step == 12
    assert math.isfinite(done.record.scores["held_out_loss"])


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
     RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")],
)  # fmt: skip
def test_running_out_of_memory_says_what_to_change_in_numbers(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(f"{TRAINER}.nats", full)
    with pytest.raises(FinetuningFailed, match=r"메모리가 모자라.*GB.*--gradient_checkpointing"):
        finetuning.finetune(options(plain, talks, tmp_path / "밖"))
    assert not (tmp_path / "밖").exists()


def test_too_little_memory_is_seen_before_anything_is_loaded(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightkorllm.memory.available", lambda device: 100 * 1024**2)
    with pytest.raises(NotEnough, match=r"남은 것은 100 MB"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", force=False))


@pytest.mark.case("F05")
def test_rows_that_are_all_too_long_teach_nothing(
    plain: Path, talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(plain, talks, tmp_path / "밖", "--max_length", "16")) == 2
    assert "--max_length" in capsys.readouterr().err
    assert not (tmp_path / "밖").exists()


@pytest.mark.case("F06")
def test_some_rows_that_are_too_long_are_counted(
    plain: Path, talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"instruction": "길게", "output": "아주 긴 답입니다. " * 200}
    data = tmp_path / "섞임"
    data.mkdir()
    (data / "가.jsonl").write_bytes(talks.read_bytes())
    (data / "나.json").write_text(json.dumps([long], ensure_ascii=False), encoding="utf-8")
    assert main(_arguments(plain, data, tmp_path / "밖", "--dry_run")) == 0
    assert "1개는 너무 길어" in capsys.readouterr().out


@pytest.mark.case("F21")
def test_an_end_token_that_the_base_does_not_know_is_warned_of(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    import shutil

    other = tmp_path / "다른-끝"
    shutil.copytree(plain, other)
    file = other / "tokenizer_config.json"
    told = json.loads(file.read_text(encoding="utf-8")) | {"eos_token": "<unk>"}
    file.write_text(json.dumps(told), encoding="utf-8")
    lines = finetuning.prepare(options(other, talks, tmp_path / "밖")).lines()
    assert any(line.startswith("경고: 토크나이저의 끝 토큰") for line in lines)
    usual = finetuning.prepare(options(plain, talks, tmp_path / "밖")).lines()
    assert not any(line.startswith("경고") for line in usual)


@pytest.mark.parametrize(("rows", "held"), [(1, 0), (2, 1), (5, 1), (24, 2)])
def test_the_split_works_from_one_row_up(
    plain: Path, talks: Path, tmp_path: Path, rows: int, held: int
) -> None:
    few = tmp_path / "적은.jsonl"
    lines = talks.read_text(encoding="utf-8").splitlines()[:rows]
    few.write_text("\n".join(lines), encoding="utf-8")
    job = finetuning.prepare(options(plain, few, tmp_path / "밖"))
    assert len(job.learned.rows) == rows - held
    assert (len(job.held_out.rows) if job.held_out else 0) == held
    if rows == 1:
        done = finetuning.finetune(options(plain, few, tmp_path / "밖", max_train_step=2))
        assert "held_out_loss" not in done.record.scores


def test_held_out_rows_can_be_a_file_of_their_own(plain: Path, talks: Path, tmp_path: Path) -> None:
    told = options(plain, talks, tmp_path / "밖", held_out_dir=str(talks))
    job = finetuning.prepare(told)
    assert job.held_out is not None
    assert len(job.learned.rows) == len(job.held_out.rows) == 24


@pytest.mark.case("K15", "K18")
@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16"])
def test_a_dry_run_reads_every_encoding_alike(
    plain: Path, talks: Path, tmp_path: Path, encoding: str
) -> None:
    rows = [json.loads(line)["messages"] for line in talks.read_text("utf-8").splitlines()]
    cells = [[turn["content"].replace("\u2014", "-") for turn in row] for row in rows]
    utf8, other = tmp_path / "가.csv", tmp_path / "나.csv"
    for file, name in ((utf8, "utf-8"), (other, encoding)):
        with file.open("w", encoding=name, newline="") as opened:
            csv.writer(opened).writerows([["질문", "답변"], *cells])
    first, second = (
        finetuning.prepare(options(plain, file, tmp_path / "밖")) for file in (utf8, other)
    )
    assert first.learned == second.learned


@pytest.mark.case("K23")
@pytest.mark.parametrize("font", [True, False])
def test_the_curve_is_drawn_with_and_without_a_korean_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, font: bool, done: Finetuned
) -> None:
    """Warnings are errors: a letter that no font has would be one."""
    from lightkorllm.finetuning import finishing

    if not font:
        monkeypatch.setattr(plotting, "korean_font", lambda: None)
    elif plotting.korean_font() is None:
        pytest.skip("no Korean font on this machine")
    finishing._plot(done.outcome, 6.0, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 5_000


def test_a_folder_that_is_there_is_not_overwritten(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    (tmp_path / "밖").mkdir()
    (tmp_path / "밖" / "소중한.txt").write_text("지우지 마세요", encoding="utf-8")
    with pytest.raises(OptionError, match="--overwrite"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖"))
    finetuning.finetune(options(plain, talks, tmp_path / "밖", overwrite=True, max_train_step=2))
    assert (tmp_path / "밖" / "adapter_model.safetensors").is_file()


def test_a_place_that_can_not_be_written_is_told_before_anything_is_loaded(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "파일").write_text("소중한 글", encoding="utf-8")
    for output in (tmp_path / "파일", tmp_path / "파일" / "밖"):
        with pytest.raises(OptionError, match=r"--train_output_dir.*파일"):
            finetuning.prepare(options(plain, talks, output))
    monkeypatch.chdir(tmp_path)
    for output in (Path(), talks.parent, plain.parent):
        with pytest.raises(OptionError, match="--train_output_dir"):
            finetuning.prepare(options(plain, talks, output, overwrite=True))
    assert (tmp_path / "파일").read_text(encoding="utf-8") == "소중한 글"


def test_too_little_disk_is_seen_before_anything_is_loaded(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightkorllm.memory.disk", lambda path: Space(1000, 1000))
    with pytest.raises(NotEnough, match="디스크가 모자랍니다"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", force=False))


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed"),
     SafetensorError("I/O error")],
)  # fmt: skip
def test_a_disk_that_fills_up_is_told_and_the_same_command_goes_on(
    plain: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> Any:
        monkeypatch.setattr("lightkorllm.memory.disk", lambda path: Space(1000, 0))
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(f"{TRAINER}.nats", full)
        with pytest.raises(FinetuningFailed, match="디스크가 가득 차서"):
            finetuning.finetune(options(plain, talks, tmp_path / "밖"))
    assert not (tmp_path / "밖").exists()


def test_few_steps_are_advised_against_unless_they_were_asked_for(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    usual = options(plain, talks, tmp_path / "밖", max_train_step=0, num_epochs=1)
    assert any("--num_epochs" in line for line in finetuning.prepare(usual).lines())
    asked = options(plain, talks, tmp_path / "밖", max_train_step=3)
    assert not any("--num_epochs" in line for line in finetuning.prepare(asked).lines())


def test_tensorboard_shows_both_losses_and_keeps_them(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = options(plain, talks, tmp_path / "밖", max_train_step=4, report_to="tensorboard")
    finetuning.finetune(told)
    found = events.EventAccumulator(str(tmp_path / "runs" / "밖")).Reload()
    assert [point.step for point in found.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [point.step for point in found.Scalars("eval/loss")] == [1, 2, 3, 4]
    assert not list((tmp_path / "밖").rglob("events.*"))


def test_a_name_that_no_repository_can_have_is_refused_before_hours_of_work(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    for name in ("me//x", "me/말투", "a/b/c", "me/-x", " "):
        with pytest.raises(OptionError, match="--upload_dir"):
            finetuning.prepare(options(plain, talks, tmp_path / "밖", upload_dir=name))
    for name in ("me/my-lora", "my-lora", "WGNW/llama-2-ko_v2.1"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", upload_dir=name))


def test_data_without_a_conversation_is_learned_as_a_whole(plain: Path, tmp_path: Path) -> None:
    file = tmp_path / "글.txt"
    file.write_text(
        "\n\n".join(f"{n}번째 문단입니다. 조용한 아침이었다." for n in range(9)), "utf-8"
    )
    job = finetuning.prepare(options(plain, file, tmp_path / "밖"))
    assert all(all(row.learned[1:]) for row in job.learned.rows)


def test_no_data_at_all_is_a_clear_error(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(DataBroken, match="없습니다"):
        finetuning.prepare(options(plain, tmp_path / "없는-파일.jsonl", tmp_path / "밖"))
    with pytest.raises(OptionError, match="--dataset_dir"):
        finetuning.prepare(FinetuneOptions(base_model_dir=str(plain)))


@pytest.mark.parametrize("name", ["paged_adamw_8bit", "adamw_8bit"])
def test_without_a_card_an_8_bit_optimiser_gives_way_and_says_so(
    plain: Path, talks: Path, tmp_path: Path, name: str
) -> None:
    job = finetuning.prepare(options(plain, talks, tmp_path / "밖", train_optimizer=name))
    assert job.settings.optimizer == "adamw_torch"
    assert any("bitsandbytes" in line for line in job.lines())


def test_an_unknown_optimiser_is_refused(plain: Path, talks: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="adamw_torch"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", train_optimizer="아담"))


def test_figures_go_only_where_there_is_somebody_to_take_them(
    plain: Path, talks: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"--report_to.*없는-것"):
        finetuning.prepare(options(plain, talks, tmp_path / "밖", report_to="없는-것"))


@pytest.mark.parametrize(
    ("name", "value"),
    [("lora_rank", 0), ("max_length", 2), ("learning_rate", 0), ("lora_dropout", 1.0),
     ("held_out_share", 1.0), ("num_epochs", 0.0)],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"--{name}"):
        FinetuneOptions(**{name: value})


def _arguments(base: Path, data: Path, output: Path, *more: str) -> list[str]:
    return [
        "finetune", "--base_model_dir", str(base), "--dataset_dir", str(data),
        "--train_output_dir", str(output), "--max_train_step", "12", "--train_batch_size", "4",
        "--gradient_accumulation_step", "1", "--learning_rate", "2e-2", "--max_length", "256",
        "--samples", "1", "--dtype", "float32", "--device", "cpu", "--force", *more,
    ]  # fmt: skip
