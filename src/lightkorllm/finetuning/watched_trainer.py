"""transformers' Trainer over packed rows, and what is done at each of its steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightkorllm import memory
from lightkorllm.data.encode import Encoded
from lightkorllm.finetuning import best, reporting
from lightkorllm.finetuning.packing import nats
from lightkorllm.finetuning.training import (
    COMPLETE,
    Point,
    Run,
    held_out_loss,
    packs_of,
)
from lightkorllm.progress import Step

# Steps in a row without numbers after which a run ends; float16's scaler has to find its size.
_PATIENCE = {"float16": 20}
_USUAL_PATIENCE = 3


def make(run: Run) -> Any:
    """A Trainer whose every step is one packed set of rows. Imported late: it costs seconds."""
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback, TrainerState

    settings = run.settings
    on_card = settings.device.startswith("cuda")
    arguments = TrainingArguments(
        output_dir=str(settings.folder),
        per_device_train_batch_size=settings.rows_per_step,
        gradient_accumulation_steps=1,
        max_steps=settings.total,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=settings.device == "cpu",
        fp16=on_card and settings.dtype == "float16",
        dataloader_pin_memory=on_card,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=reporting.elsewhere(settings.trackers),
    )

    class Packed(Trainer):  # type: ignore[misc, unused-ignore]
        """Rows of a step are packed, and the loss is the mean over all its learned tokens."""

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            model.train()
            count = sum(len(packed.targets) for packed in inputs["packs"])
            told = 0.0
            for packed in inputs["packs"]:
                loss = nats(model, packed) / count
                self.accelerator.backward(loss)
                told = told + loss.detach()
            run.outcome.learned_tokens += count
            return told

        def recall(self, checkpoint: Path) -> None:
            """Take up a run that was learned to its end: the Trainer would learn a step more."""
            self._load_from_checkpoint(str(checkpoint))
            self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            self.callback_handler.on_train_begin(self.args, self.state, self.control)

        def log(self, logs: Any, start_time: Any = None) -> None:
            """What was measured on held-out rows at this step goes wherever its loss goes."""
            newest = run.outcome.points[-1] if run.outcome.points else Point(0)
            if newest.held_out is not None and newest.step == self.state.global_step:
                logs = {**logs, "eval_loss": newest.held_out}
            super().log(logs, start_time)

        def floating_point_ops(self, inputs: Any) -> int:
            return 0

    trainer = Packed(
        model=run.model,
        args=arguments,
        train_dataset=_Rows(run.rows),
        data_collator=lambda rows: {"packs": packs_of(rows, settings)},
        callbacks=[_watcher(run), *reporting.callbacks(settings.trackers, settings.curves)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Rows:
    """A data set as torch wants one."""

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> Encoded:
        return self._rows[at]


def _watcher(run: Run) -> Any:
    from transformers import TrainerCallback

    settings, outcome = run.settings, run.outcome

    class Watcher(TrainerCallback):  # type: ignore[misc, unused-ignore]
        """Tells each step, measures, stops on request and where numbers end."""

        bad = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            outcome.first_step = outcome.last_step = state.global_step
            run.started = time.monotonic()
            for told in state.log_history:
                self._keep(told, state.global_step)
            outcome.points += _measured(settings.folder, up_to=state.global_step)
            best.forget(settings.folder, after=state.global_step)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **inside: Any) -> None:
            """A step whose gradients are no numbers is skipped: the adapter stays as it was."""
            import torch

            parameters = [p for p in run.model.parameters() if p.grad is not None]
            if all(bool(torch.isfinite(p.grad).all()) for p in parameters):
                self.bad = 0
                return
            for parameter in parameters:
                parameter.grad = None
            self.bad += 1
            if self.bad >= _PATIENCE.get(settings.dtype, _USUAL_PATIENCE):
                outcome.diverged = state.global_step + 1
                control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            outcome.last_step = state.global_step
            outcome.seconds = time.monotonic() - run.started
            outcome.peak_memory = max(outcome.peak_memory, _memory_used(settings.device))
            ended = state.global_step == settings.total
            due = ended or state.global_step % settings.eval_steps == 0
            if run.held_out and due and not outcome.diverged:
                paused = time.monotonic()
                loss = held_out_loss(run.model, run.held_out, settings)
                outcome.points.append(Point(state.global_step, held_out=loss))
                _note(settings.folder, outcome.points[-1])
                best.keep(run.model, settings.folder, step=state.global_step, loss=loss or 0.0)
                run.started += time.monotonic() - paused
            if run.stop.is_set() and not ended:
                outcome.stopped = True
                control.should_training_stop = True
                control.should_save = True

        def on_log(self, args: Any, state: Any, control: Any, **inside: Any) -> None:
            logs = inside["logs"]
            if "loss" not in logs:
                return
            self._keep(logs | {"step": state.global_step}, state.global_step)
            run.put(_step(run, outcome.points[-1]))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (settings.folder / f"checkpoint-{state.global_step}" / COMPLETE).touch()

        def _keep(self, told: Any, step: int) -> None:
            if "loss" in told:
                outcome.points.append(
                    Point(told["step"], loss=told["loss"], rate=told.get("learning_rate"))
                )

    return Watcher()


_MEASURES = "held_out.tsv"


def _note(folder: Path, point: Point) -> None:
    """Held-out losses go to a file of ours: the Trainer's own state knows nothing of them."""
    with (folder / _MEASURES).open("a", encoding="utf-8") as file:
        file.write(f"{point.step}\t{point.held_out!r}\n")


def _measured(folder: Path, *, up_to: int) -> list[Point]:
    file = folder / _MEASURES
    if not file.is_file() or not up_to:
        file.unlink(missing_ok=True)
        return []
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        step, _, loss = line.partition("\t")
        if int(step) <= up_to:
            found[int(step)] = Point(int(step), held_out=float(loss))
    return list(found.values())


def _step(run: Run, point: Point) -> Step:
    outcome = run.outcome
    done = outcome.last_step - outcome.first_step
    to_do = run.settings.total - outcome.last_step
    seconds = time.monotonic() - run.started
    held_out = next((p.held_out for p in reversed(outcome.points) if p.held_out is not None), None)
    note = [f"손실 {point.loss:.3f}" if point.loss is not None else ""]
    note += [f"떼어 둔 행 {held_out:.3f}" if held_out is not None else ""]
    note += [f"학습률 {point.rate:.1e}" if point.rate is not None else ""]
    note += [f"초당 배운 토큰 {outcome.learned_tokens / max(seconds, 1e-9):.0f}"]
    note += [f"메모리 {memory.text(outcome.peak_memory)}" if outcome.peak_memory else ""]
    return Step(
        "train", outcome.last_step, run.settings.total, seconds,
        seconds / done * to_do if done else None, ", ".join(part for part in note if part),
    )  # fmt: skip


def _memory_used(device: str) -> int:
    """Bytes that this process holds on the device now; at its peak on a card."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.Process().memory_info().rss)
