"""Rows side by side in one sequence, so that nothing is spent on padding.

Positions begin anew with each row, by which transformers knows to keep their attention apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightkorllm.data.encode import IGNORED, Encoded

_ROUND_TOKENS, _ROUND_PLACES = 64, 32


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows in one sequence of `tokens` ids.

    The token at `places[i]` has to predict `targets[i]`; no place predicts another row's token.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    places: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.ids)


def pack(rows: Sequence[Encoded]) -> Pack:
    """The rows as one sequence, in their order."""
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    targets: list[int] = []
    for row in rows:
        start = len(ids)
        for at, label in enumerate(row.labels[1:]):
            if label != IGNORED:
                places.append(start + at)
                targets.append(label)
        ids += row.ids
        positions += range(len(row.ids))
    return Pack(tuple(ids), tuple(positions), tuple(places), tuple(targets))


def packs(rows: Iterable[Encoded], *, capacity: int) -> Iterator[Pack]:
    """Rows in packs of at most `capacity` tokens, the longest first; a longer row is one alone."""
    open_: list[tuple[list[Encoded], int]] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        size = len(row.ids)
        for at, (held, filled) in enumerate(open_):
            if filled + size <= capacity:
                held.append(row)
                open_[at] = held, filled + size
                break
        else:
            open_.append(([row], size))
    for held, _ in open_:
        yield pack(held)


def nats(model: Any, packed: Pack) -> Any:
    """The summed negative log-likelihood of a pack's targets (float32, differentiable).

    Logits are made for the places that are learned from only: with a large vocabulary they are
    most of what a step costs. Sizes are rounded up with a row that nobody learns from, so that
    kernels and memory are made for few sizes and used again.
    """
    import torch

    device = next(model.parameters()).device
    short = -packed.tokens % _ROUND_TOKENS
    ids = (*packed.ids, *packed.ids[:1] * short)
    positions = (*packed.positions, *range(short))
    spare = -len(packed.places) % _ROUND_PLACES
    places = (*packed.places, *(0,) * spare)
    targets = (*packed.targets, *(IGNORED,) * spare)
    logits = model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        use_cache=False,
        logits_to_keep=torch.tensor(places, device=device),
    ).logits[0]
    return torch.nn.functional.cross_entropy(
        logits.float(),
        torch.tensor(targets, device=device),
        reduction="sum",
        ignore_index=IGNORED,
    )


def keeps_rows_apart(model: Any, rows: Sequence[Encoded]) -> bool:
    """Whether this model computes packed rows as it does each alone, tried out on two rows."""
    import torch

    short = [Encoded(row.ids[:64], tuple([False] + [True] * len(row.ids[1:64]))) for row in rows]
    tried = [row for row in short if len(row.ids) > 1][:2]
    if len(tried) < 2:
        return True
    was_training = model.training
    model.eval()
    with torch.no_grad():
        alone = sum(float(nats(model, pack([row]))) for row in tried)
        together = float(nats(model, pack(tried)))
    model.train(was_training)
    return abs(together - alone) <= 0.01 * abs(alone)
