"""The run itself: a worker process is started, watched and ended, and its folder finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkorllm.errors import QuantizationFailed
from lightkorllm.progress import Step

LOG_NAME = "quantize.log"


@dataclass(frozen=True, slots=True)
class Run:
    """What a finished run tells: loss by module, seconds, and bytes of memory at its peak.

    `rounded` modules saw too little text for GPTQ and were rounded to nearest. `tuned` has the
    divergence `before` and `after` tuning the scales; it is empty where nothing was tuned.
    """

    losses: Mapping[str, float]
    rounded: int
    tuned: Mapping[str, float]
    seconds: float
    peak_memory: int


def run(job: Mapping[str, Any], work: Path) -> Generator[Step, None, Run]:
    """Quantise in a process of its own, which writes `job["output"]`.

    `work` is the folder for its log and scratch files. However this function is left, the process
    has ended. Raises `QuantizationFailed` with the reason and what to do.
    """
    job_file = work / "job.json"
    told = {**job, "parent": os.getpid(), "log": str((work / LOG_NAME).resolve())}
    job_file.write_text(json.dumps(told), encoding="utf-8")
    last: dict[str, Any] = {}
    started = 0.0
    with _worker(job_file, work) as events:
        for event in events:
            last = event
            if event["event"] in ("loaded", "layer"):
                yield _step(event, "quantise", "손실 {:.2e}")
            elif event["event"] == "tune":
                started = started or event["seconds"]
                yield _step(event, "tune", "KL {:.4f}", started=started)
    if last.get("event") == "done":
        return Run(
            last["losses"], last["rounded"], last["tuned"], last["seconds"], last["peak_memory"]
        )
    raise _failure(last, work / LOG_NAME)


@contextmanager
def _worker(job_file: Path, work: Path) -> Iterator[Iterator[dict[str, Any]]]:
    command = [sys.executable, "-m", "lightkorllm.quantization.worker", str(job_file.resolve())]
    with (work / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.PIPE,  # closes with us,
            cwd=work,  # the library leaves logs where it runs
            env=environment(),
            start_new_session=True,  # Ctrl-C is ours to answer
        )
        with process:
            assert process.stdout is not None
            try:
                yield (json.loads(line) for line in process.stdout)
            except BaseException:
                process.kill()
                raise


def environment() -> dict[str, str]:
    """Ours, and what GPTQModel wants: on two cores its worker pool breaks without the number."""
    workers = str(max(2, min(8, os.cpu_count() or 2)))
    return {
        "GPTQMODEL_CPU_WORKERS": workers,
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "COLUMNS": "400",  # room for its table of losses, which is cut to the terminal's width
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _step(event: Mapping[str, Any], phase: str, note: str, *, started: float = 0.0) -> Step:
    done, total, seconds = event.get("done", 0), event["total"], event["seconds"]
    left = (seconds - started) / done * (total - done) if done else None
    loss = event.get("loss")
    return Step(phase, done, total, seconds, left, "" if loss is None else note.format(loss))


def _failure(last: Mapping[str, Any], log: Path) -> QuantizationFailed:
    kind, message = last.get("kind", ""), last.get("message", "")
    if kind in ("OutOfMemoryError", "MemoryError") or not last:
        reason = "메모리가 모자랐습니다. --samples, --sequence_length, --batch_size를 줄여 주세요"
    elif kind == "ArithmeticError":
        reason = (
            f"계산에서 수가 아닌 값이 나왔습니다({message}). 원본 가중치가 망가지지 않았는지 보고, "
            "--dtype float32나 더 큰 --damp_percent로 다시 해 보세요"
        )
    elif kind in ("LinAlgError", "_LinAlgError"):
        reason = (
            "헤세 행렬을 풀지 못했습니다. 보정 글을 늘리거나(--samples, --calibration) "
            "--damp_percent를 키워 주세요"
        )
    else:
        first = message.strip().splitlines()[0] if message.strip() else "알 수 없는 이유"
        reason = f"{kind}: {first}"
    return QuantizationFailed(f"양자화하지 못했습니다. {reason}. 자세한 기록: {log}")
