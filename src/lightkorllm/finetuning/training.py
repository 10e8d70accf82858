"""The loop: transformers' Trainer over packed rows, watched from outside through its callbacks."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkorllm import memory
from lightkorllm.data.encode import Encoded
from lightkorllm.errors import FinetuningFailed
from lightkorllm.finetuning.packing import Pack, nats, packs
from lightkorllm.progress import Step

COMPLETE = "complete"  # the file that says that a checkpoint was written to its end


@dataclass(frozen=True, slots=True)
class Point:
    """One step as it was: mean loss per learned token, and on held-out rows where measured."""

    step: int
    loss: float | None = None
    held_out: float | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train; `total` steps of `rows_per_step` rows, at most `capacity` tokens at once.

    TensorBoard, where it is one of the `trackers`, writes to the folder `curves`. With `keep_freed`
    memory is kept from step to step: faster, but more of it is held.
    """

    folder: Path
    total: int
    rows_per_step: int
    capacity: int
    learning_rate: float
    warmup_steps: int
    schedule: str
    weight_decay: float
    optimizer: str
    save_steps: int
    eval_steps: int
    seed: int
    device: str
    dtype: str
    trackers: tuple[str, ...] = ()
    curves: Path = Path("runs")
    packed: bool = True
    keep_freed: bool = False


@dataclass
class Outcome:
    """What a run came to. `stopped` by the user; `diverged` says at which step numbers ended.

    `kept_step` is the step whose adapter was kept; 0 means the last one.
    """

    points: list[Point] = field(default_factory=list)
    first_step: int = 0
    last_step: int = 0
    kept_step: int = 0
    learned_tokens: int = 0
    seconds: float = 0.0
    stopped: bool = False
    diverged: int = 0
    peak_memory: int = 0

    @property
    def held_out_loss(self) -> float | None:
        """Of the adapter that was kept, else the last one that was measured."""
        measured = {p.step: p.held_out for p in self.points if p.held_out is not None}
        return measured.get(self.kept_step, next(reversed(measured.values()), None))

    @property
    def tokens_per_second(self) -> float:
        """Learned tokens."""
        return self.learned_tokens / self.seconds if self.seconds else 0.0


def held_out_loss(model: Any, rows: Sequence[Encoded], settings: Settings) -> float | None:
    """Mean loss per learned token on rows; None where there are none."""
    import torch

    if not rows:
        return None
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for packed in packs_of(rows, settings):
            total += float(nats(model, packed))
            count += len(packed.targets)
    model.train(was_training)
    return total / count


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step behind which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def train(
    model: Any, rows: Sequence[Encoded], held_out: Sequence[Encoded], settings: Settings
) -> Generator[Step, None, Outcome]:
    """Train `model`'s adapter, going on from the last checkpoint; a step is told after each.

    Closing the generator, or an interrupt, ends training behind the running step with everything
    saved. Raises what training raises.
    """
    if settings.device == "cpu":
        memory.keep_freed()
    events: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()
    run = Run(model, rows, held_out, settings, events.put)
    thread = threading.Thread(target=run.go, name="finetune", daemon=True)
    thread.start()
    try:
        while (event := _next(events, thread)) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        run.stop.set()
        thread.join()
    return run.outcome


def _next(
    events: queue.SimpleQueue[Step | BaseException | None], thread: threading.Thread
) -> Step | BaseException | None:
    while True:
        try:
            return events.get(timeout=0.5)
        except queue.Empty:
            if not thread.is_alive() and events.empty():
                return None


def packs_of(rows: Sequence[Encoded], settings: Settings) -> list[Pack]:
    return list(packs(rows, capacity=settings.capacity if settings.packed else 1))


class Run:
    """One training in a thread of its own: it tells `put` each step, then an error or None."""

    def __init__(
        self,
        model: Any,
        rows: Sequence[Encoded],
        held_out: Sequence[Encoded],
        settings: Settings,
        put: Callable[[Step | BaseException | None], None],
    ) -> None:
        self.model, self.rows, self.held_out, self.settings = model, rows, held_out, settings
        self.put = put
        self.stop = threading.Event()
        self.outcome = Outcome()
        self.started = time.monotonic()

    def go(self) -> None:
        try:
            from lightkorllm.finetuning.watched_trainer import make

            trainer = make(self)
            found = last_checkpoint(self.settings.folder)
            if found and step_of(found) >= self.settings.total:
                trainer.recall(found)
            else:
                trainer.train(resume_from_checkpoint=str(found) if found else None)
            self.put(None)
        except BaseException as error:  # goes on in the thread that waits
            self.put(error)


def require_finite(model: Any) -> None:
    """Raise `FinetuningFailed` where an adapter weight is not a number."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise FinetuningFailed(f"어댑터의 {name}에 수가 아닌 값이 있어 저장하지 않았습니다.")


def mean(points: Sequence[Point]) -> float:
    """Mean training loss of the last tenth of the steps."""
    losses = [point.loss for point in points if point.loss is not None]
    tail = losses[-max(1, len(losses) // 10) :]
    return sum(tail) / len(tail) if tail else math.nan
