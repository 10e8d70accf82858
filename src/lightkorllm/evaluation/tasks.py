"""The question sets of EleutherAI's lm-eval, Korean ones above all: `kobest`, `haerae`, `kmmlu`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkorllm.errors import MissingPackage, OptionError
from lightkorllm.evaluation.subject import Subject


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One figure of one task, such as accuracy; `error` is its standard error where known."""

    task: str
    metric: str
    value: float
    error: float | None = None


def run(
    subject: Subject, names: Sequence[str], *, limit: int = 0, folder: Path | None = None
) -> tuple[TaskScore, ...]:
    """Put a model through tasks of lm-eval; `folder` holds further tasks of the user's own.

    Raises `MissingPackage` without lm-eval, and `OptionError` for an unknown task or one whose
    data can't be had.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise MissingPackage("과제를 푸는 lm-eval이", extra="eval") from None
    manager = TaskManager(include_path=None if folder is None else str(folder))
    unknown = [name for name in names if not manager.match_tasks([name])]
    if unknown:
        raise OptionError("--tasks", f"lm-eval에 그런 과제는 없습니다: {', '.join(unknown)}")
    model = HFLM(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=1)
    try:
        told = lm_eval.simple_evaluate(
            model=model, tasks=list(names), limit=limit or None, task_manager=manager
        )
    except (OSError, ConnectionError, ValueError) as error:
        raise OptionError(
            "--tasks",
            f"{', '.join(names)}의 문제를 가져오지 못했습니다({type(error).__name__}). 인터넷에 "
            "이어져 있는지, 데이터가 내려받아져 있는지 확인해 주세요",
        ) from error
    return tuple(_scores(told["results"]))


def _scores(results: Any) -> list[TaskScore]:
    found = []
    for task, figures in sorted(results.items()):
        for key, value in figures.items():
            metric, _, kind = key.partition(",")
            if isinstance(value, float) and kind == "none" and not metric.endswith("_stderr"):
                error = figures.get(f"{metric}_stderr,none")
                found.append(
                    TaskScore(task, metric, value, error if isinstance(error, float) else None)
                )
    return found
