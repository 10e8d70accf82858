"""The child process in which GPTQModel runs: it reads one job, tells progress, writes a folder.

Run as `python -m lightkorllm.quantization.worker JOB.json`. Each line of stdout is one JSON event;
what the library prints goes to stderr. A process of its own gives back all memory at its end, can
be ended at any moment, and keeps the library's settings and signal handlers out of ours.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from lightkorllm.processes import end_with_parent, end_with_stdin


class Progress:
    """GPTQModel's callback after each layer; losses come from its table of finished modules."""

    def __init__(self, events: TextIO) -> None:
        self._events = events
        self._started = time.monotonic()
        self.total = 0

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            self.tell("layer", done=layer_idx + 1, total=self.total)

    def tell(self, event: str, **values: Any) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        line = json.dumps({"event": event, "seconds": seconds, **values}, ensure_ascii=False)
        self._events.write(line + "\n")
        self._events.flush()


def main(job_file: str) -> None:
    """Do the job of a file. Whatever goes wrong is the last event, and exit code 1."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    end_with_parent(job["parent"])
    end_with_stdin()
    progress = Progress(events)
    try:
        losses = _quantise(job, progress)
        _require_finite(losses)
        progress.tell("done", losses=losses, peak_memory=_peak_memory())
    except Exception as error:  # the parent turns it into its own error
        progress.tell("failed", kind=type(error).__name__, message=str(error)[:2000])
        raise SystemExit(1) from error


def _quantise(job: Mapping[str, Any], progress: Progress) -> dict[str, float]:
    """Run GPTQModel; the loss of each module. Everything that touches the library is here."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.looper.checkpoint_store import CheckpointConfig

    settings = QuantizeConfig(
        bits=job["bits"],
        group_size=job["group_size"],
        desc_act=job["desc_act"],
        sym=job["sym"],
        damp_percent=job["damp_percent"],
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
    return _losses(model.quant_log)


def _losses(log: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    losses = {}
    for row in log:
        try:
            losses[f"{row['layer']}.{row['module']}"] = float(row["loss"])
        except (KeyError, TypeError, ValueError):
            continue
    return losses


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
