"""Where else the numbers of a run go: TensorBoard and other trackers, where the user asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightkorllm.errors import OptionError

RUNS = "runs"
_TENSORBOARD = "tensorboard"


def trackers(names: str) -> tuple[str, ...]:
    """The trackers that `--report_to` names; none for `none`.

    Raises `OptionError` for one that isn't installed.
    """
    wanted = tuple(name for part in names.split(",") if (name := part.strip()))
    if wanted in ((), ("none",)):
        return ()
    from transformers import integrations

    guest: Any = integrations
    there = guest.get_available_reporting_integrations()
    if missing := [name for name in wanted if name not in there]:
        raise OptionError(
            "--report_to",
            f"{', '.join(missing)}을(를) 쓸 수 없습니다. `pip install {missing[0]}`로 설치했는지 "
            f"확인해 주세요 (지금 쓸 수 있는 것: {', '.join(there) or '없음'})",
        )
    return wanted


def elsewhere(chosen: tuple[str, ...]) -> list[str]:
    """The trackers that the Trainer itself knows how to begin."""
    return [name for name in chosen if name != _TENSORBOARD]


def callbacks(chosen: tuple[str, ...], folder: Path) -> list[Any]:
    """TensorBoard writes into `folder`: the Trainer's usual place is gone when a run is done."""
    if _TENSORBOARD not in chosen:
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import integration_utils

    writer: Any = SummaryWriter
    theirs: Any = integration_utils
    return [theirs.TensorBoardCallback(writer(log_dir=str(folder)))]
