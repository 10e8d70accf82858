"""The child process in which GPTQModel runs: it reads one job, tells progress, writes a folder.

Run as `python -m lightkorllm.quantization.worker JOB.json`. Each line of stdout is one JSON event;
what the library prints goes to stderr. A process of its own gives back all memory at its end, can
be ended at any moment, and keeps the library's settings and signal handlers out of ours.
"""

from __future__ import annotations

import gc
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from lightkorllm.processes import end_with_parent, end_with_stdin

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Progress:
    """GPTQModel's callback after each layer; each call becomes an event with the layer's loss."""

    def __init__(self, events: TextIO, log: Path) -> None:
        self._events = events
        self._table = _LossTable(log)
        self._started = time.monotonic()
        self.total = 0

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            loss = self._table.new_mean()
            self.tell("layer", done=layer_idx + 1, total=self.total, loss=loss)

    def tell(self, event: str, **values: Any) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        line = json.dumps({"event": event, "seconds": seconds, **values}, ensure_ascii=False)
        self._events.write(line + "\n")
        self._events.flush()


class _LossTable:
    """The table of finished modules that GPTQModel prints; it offers the losses nowhere else
    before its end. Where the table looks otherwise, there is no loss to show."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._column = -1

    def new_mean(self) -> float | None:
        """The mean loss of the modules that were finished since the last call."""
        with self._log.open("rb") as file:
            file.seek(self._at)
            text = file.read().decode("utf-8", "replace")
            self._at = file.tell()
        losses = [loss for line in text.splitlines() if (loss := self._loss(line)) is not None]
        return sum(losses) / len(losses) if losses else None

    def _loss(self, line: str) -> float | None:
        cells = [cell.strip() for cell in _COLOUR.sub("", line).split("|")]
        if "loss" in cells and "module" in cells:
            self._column = cells.index("loss")
        try:
            return float(cells[self._column]) if 0 < self._column < len(cells) else None
        except ValueError:
            return None


def main(job_file: str) -> None:
    """Do the job of a file. Whatever goes wrong is the last event, and exit code 1."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    end_with_parent(job["parent"])
    end_with_stdin()
    progress = Progress(events, Path(job["log"]))
    try:
        _require_finite_weights(Path(job["model"]))
        log = _quantise(job, progress)
        losses = _losses(log)
        _require_finite(losses)
        rounded = len(log) - len(losses)  # too little text: rounded to nearest instead
        tuned = _tune(job, progress) if job["tune_steps"] else {}
        told = {"losses": losses, "rounded": rounded, "tuned": tuned}
        progress.tell("done", **told, peak_memory=_peak_memory())
    except Exception as error:  # the parent turns it into its own error
        progress.tell("failed", kind=type(error).__name__, message=str(error)[:2000])
        raise SystemExit(1) from error


def _quantise(job: Mapping[str, Any], progress: Progress) -> list[dict[str, Any]]:
    """Run GPTQModel; its log, a row a module. Everything that touches the library is here."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.looper.checkpoint_store import CheckpointConfig

    settings = QuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        desc_act=job["desc_act"],
        sym=job["sym"],
        damp_percent=job["damp_percent"],
        mse=job["mse"],
        offload_to_disk_path=job["offload"],
    )
    model = GPTQModel.load(
        job["model"],
        settings,
        device=job["device"],
        dtype=getattr(torch, job["dtype"]),
        trust_remote_code=False,
    )
    progress.total = model.model.config.get_text_config().num_hidden_layers
    progress.tell("loaded", total=progress.total)
    model.layer_callback = progress
    model.quantize(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["rows"]],
        batch_size=job["batch_size"],
        calibration_sort=None,
        calibration_data_min_length=2,
        checkpoint=CheckpointConfig(path=job["resume"]) if job["resume"] else None,
    )
    progress.tell("saving")
    model.save(job["output"])
    return list(model.quant_log)


def _tune(job: Mapping[str, Any], progress: Progress) -> dict[str, float]:
    """Let the scales learn from the original, and keep that only where it helped."""
    from lightkorllm.quantization import tuning

    gc.collect()
    held = tuning.judges(job["rows"])
    if not held:
        return {}
    rows = job["rows"]
    judged = rows[:: len(rows) // held][:held]  # of both languages, which follow each other
    learned = [row for row in rows + job["further"] if row not in judged]
    run = tuning.Tuning(
        Path(job["output"]), Path(job["model"]), device=job["device"], dtype=job["dtype"]
    )
    before = run.judge(judged)
    for done, loss in enumerate(run.steps(learned, job["tune_steps"], seed=job["seed"]), start=1):
        progress.tell("tune", done=done, total=job["tune_steps"], loss=loss)
    after = run.judge(judged)
    if after < before:
        run.finish()
    return {"before": before, "after": min(before, after)}


def _losses(log: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    losses = {}
    for row in log:
        try:
            losses[f"{row['layer']}.{row['module']}"] = float(row["loss"])
        except (KeyError, TypeError, ValueError):
            continue
    return losses


def _require_finite_weights(folder: Path) -> None:
    """A weight that isn't a number would spoil every layer behind it."""
    import torch
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as data:
            for name in data.keys():  # noqa: SIM118
                if not torch.isfinite(data.get_tensor(name)).all():
                    raise ArithmeticError(f"NaN or Inf in weight {name}")


def _require_finite(losses: Mapping[str, float]) -> None:
    for name, loss in losses.items():
        if not math.isfinite(loss):
            raise ArithmeticError(f"loss {loss} in layer {name}")


def _peak_memory() -> int:
    """Most bytes of main memory that this process held; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(sys.argv[1])
