"""The adapter as it was when it predicted the held-out rows best: kept aside, and put back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

_FILE = "best.safetensors"


def keep(model: Any, folder: Path, *, step: int, loss: float) -> None:
    """Write the trainable weights down, unless an earlier step did better or nothing was told."""
    from safetensors.torch import save_file

    before = _told(folder / _FILE)
    if not math.isfinite(loss) or (before and before[1] <= loss):
        return
    weights = {name: value.detach().cpu() for name, value in _trainable(model)}
    draft = folder / f"{_FILE}.part"
    save_file(weights, draft, metadata={"step": str(step), "loss": repr(loss)})
    draft.replace(folder / _FILE)


def put_back(model: Any, folder: Path) -> int | None:
    """Load the best weights into the model; the step they are from, None where none was kept."""
    from safetensors.torch import load_file

    file = folder / _FILE
    told = _told(file)
    if told is None:
        return None
    weights = load_file(file)
    for name, value in _trainable(model):
        value.data.copy_(weights[name])
    return told[0]


def forget(folder: Path, *, after: int) -> None:
    """Drop what a step behind `after` left: a run that goes on from there comes to it again."""
    told = _told(folder / _FILE)
    if told is None or told[0] > after:
        (folder / _FILE).unlink(missing_ok=True)


def _told(file: Path) -> tuple[int, float] | None:
    from safetensors import safe_open

    if not file.is_file():
        return None
    with safe_open(file, framework="pt") as data:
        metadata = data.metadata()
    return int(metadata["step"]), float(metadata["loss"])


def _trainable(model: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in model.named_parameters() if value.requires_grad]
