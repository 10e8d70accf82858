"""Rows side by side in one sequence are computed as if each were alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import checkpoints
from lightkorllm import checkpoint, pretrained
from lightkorllm.data.encode import Encoded
from lightkorllm.finetuning import packing

ROWS = st.lists(
    st.lists(st.integers(3, 500), min_size=2, max_size=30).map(
        lambda ids: Encoded(tuple(ids), (False, *[True] * (len(ids) - 1)))
    ),
    min_size=1,
    max_size=8,
)


@given(ROWS, st.integers(2, 64))
def test_every_learned_token_is_predicted_once_from_its_own_row(
    rows: list[Encoded], capacity: int
) -> None:
    made = list(packing.packs(rows, capacity=capacity))
    wanted = sorted(
        (row.ids[at], row.ids[at + 1]) for row in rows for at in range(len(row.ids) - 1)
    )
    assert wanted == sorted(
        (packed.ids[place], target)
        for packed in made
        for place, target in zip(packed.places, packed.targets, strict=True)
    )
    assert sum(packed.tokens for packed in made) == sum(len(row.ids) for row in rows)
    longest = max(len(row.ids) for row in rows)
    assert all(packed.tokens <= max(capacity, longest) for packed in made)


def test_what_is_not_learned_is_no_target() -> None:
    row = Encoded((5, 6, 7, 8), (False, False, True, True))
    packed = packing.pack([row, row])
    assert packed.places == (1, 2, 5, 6)
    assert packed.targets == (7, 8, 7, 8)
    assert packed.positions == (0, 1, 2, 3, 0, 1, 2, 3)


@pytest.fixture(scope="module", params=["llama", "gemma3", "qwen3"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("models") / request.param
    make = {"llama": checkpoints.llama, "gemma3": checkpoints.gemma3, "qwen3": checkpoints.qwen3}
    make[request.param](folder)
    return pretrained.load_model(checkpoint.read(folder), device="cpu", dtype="float32")


def test_packed_rows_do_not_see_each_other(model: object) -> None:
    """Gemma's window of 16 tokens is shorter than these rows."""
    torch.manual_seed(1)
    rows = [
        Encoded(tuple(torch.randint(3, 500, (size,)).tolist()), (False, *[True] * (size - 1)))
        for size in (40, 7, 23)
    ]
    with torch.no_grad():
        alone = [float(packing.nats(model, packing.pack([row]))) for row in rows]
        together = float(packing.nats(model, packing.pack(rows)))
    assert together == pytest.approx(sum(alone), rel=1e-4)
    assert packing.keeps_rows_apart(model, rows)


def test_the_loss_is_the_models_own(model: object) -> None:
    """transformers' loss over all logits, times the number of learned tokens."""
    ids = tuple(torch.randint(3, 500, (30,), generator=torch.manual_seed(2)).tolist())
    row = Encoded(ids, (*[False] * 10, *[True] * 20))
    with torch.no_grad():
        theirs = model(  # type: ignore[operator]
            input_ids=torch.tensor([ids]), labels=torch.tensor([row.labels])
        ).loss
        ours = packing.nats(model, packing.pack([row])) / 20
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)


class Mixing(torch.nn.Module):
    """A model that does not see where packed rows begin, as a recurrent one."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *, position_ids: torch.Tensor, **inputs: object) -> object:
        running = torch.arange(position_ids.shape[1])[None]
        return self.model(position_ids=running, **inputs)


def test_a_model_that_mixes_packed_rows_is_found_out(tmp_path: Path) -> None:
    """Its weights are large, so that its attention is sharp enough for the mixing to show."""
    checkpoints.llama(tmp_path, initializer_range=1.0)
    model = pretrained.load_model(checkpoint.read(tmp_path), device="cpu", dtype="float32")
    generator = torch.manual_seed(3)
    rows = [
        Encoded(tuple(torch.randint(3, 500, (20,), generator=generator).tolist()), (True,) * 20)
        for _ in range(2)
    ]
    assert packing.keeps_rows_apart(model, rows)
    assert not packing.keeps_rows_apart(Mixing(model), rows)
