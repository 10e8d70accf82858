"""Scales learn, codes stay: what tuning changes in a checkpoint, and that it is what it claims."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import checkpoints
import tiny
from lightkorllm import checkpoint
from lightkorllm.data import corpus
from lightkorllm.quantization import tuning
from lightkorllm.repacking import gptq


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("models") / "원본", initializer_range=0.3)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return checkpoints.gptq(original, tmp_path / "4비트")


@pytest.fixture(scope="module")
def rows(original: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    fast = tiny.tokenizer(tmp_path_factory.mktemp("tokenizer"))
    ids = fast(corpus.text("calibration", language="ko")[:60_000])["input_ids"]
    return [ids[at : at + 256] for at in range(0, 24 * 256, 256)]


def _tuning(folder: Path, original: Path) -> tuning.Tuning:
    return tuning.Tuning(folder, original, device="cpu", dtype="float32")


def test_the_divergence_falls_on_rows_that_were_not_learned_from(
    folder: Path, original: Path, rows: list[list[int]]
) -> None:
    run = _tuning(folder, original)
    before = run.judge(rows[:4])
    losses = list(run.steps(rows[4:], 30, seed=0))
    assert len(losses) == 30
    assert run.judge(rows[:4]) < before


def test_only_scales_change_on_disk(folder: Path, original: Path, rows: list[list[int]]) -> None:
    before = load_file(folder / "model.safetensors")
    run = _tuning(folder, original)
    list(run.steps(rows, 5, seed=0))
    run.finish()
    after = load_file(folder / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.endswith(".scales") for name in changed)
    assert {name: t.dtype for name, t in before.items()} == {n: t.dtype for n, t in after.items()}


def test_what_was_judged_is_what_the_folder_then_holds(
    folder: Path, original: Path, rows: list[list[int]]
) -> None:
    run = _tuning(folder, original)
    list(run.steps(rows[4:], 10, seed=0))
    after = run.judge(rows[:4])
    run.finish()
    again = _tuning(folder, original).judge(rows[:4])
    assert again == pytest.approx(after, rel=0.02)  # scales are stored in 16 bits


def test_without_finish_the_folder_stays_as_it_was(
    folder: Path, original: Path, rows: list[list[int]]
) -> None:
    before = (folder / "model.safetensors").read_bytes()
    list(islice(_tuning(folder, original).steps(rows, 5, seed=0), 3))
    assert (folder / "model.safetensors").read_bytes() == before


def test_the_gradient_is_that_of_the_plain_computation(folder: Path) -> None:
    found = checkpoint.read(folder)
    layer = gptq.layer(found, found.quantised_layers()[0])
    codes = torch.from_numpy(layer.steps().astype("int8"))
    scales = torch.from_numpy(layer.grid.scales.copy()).double().requires_grad_()
    x = torch.randn(3, 5, codes.shape[1], dtype=torch.float64, requires_grad=True)
    unpack = tuning._Unpack.apply
    y = unpack(x, codes, scales)  # type: ignore[no-untyped-call]
    weight = (codes.double().view(len(codes), scales.shape[1], -1) * scales[:, :, None]).flatten(1)
    plain = x @ weight.T
    assert torch.allclose(y, plain)
    above = torch.randn_like(y)
    got = torch.autograd.grad(y, (x, scales), above)
    wanted = torch.autograd.grad(plain, (x, scales), above)
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_divergences_gradient_is_that_of_the_definition() -> None:
    got = torch.randn(2, 7, 50, requires_grad=True)
    wanted = torch.randn(2, 7, 50)
    loss, gradient = tuning._compare(got.detach(), wanted)
    logs, theirs = torch.log_softmax(got, -1), torch.log_softmax(wanted, -1)
    plain = (theirs.exp() * (theirs - logs)).sum() / 14
    (naive,) = torch.autograd.grad(plain, got)
    assert loss == pytest.approx(float(plain.detach()), rel=1e-5)
    assert torch.allclose(gradient, naive, atol=1e-6)


def test_a_model_that_gives_no_numbers_stops_the_steps(
    folder: Path, original: Path, rows: list[list[int]], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    shutil.copytree(original, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    assert list(_tuning(folder, broken).steps(rows, 5, seed=0)) == []


@pytest.mark.parametrize(("count", "held"), [(100, 8), (32, 8), (31, 0), (1, 0)])
def test_rows_to_judge_by_are_held_back_only_where_there_are_enough(count: int, held: int) -> None:
    assert tuning.judges([[0] * 256] * count) == held
