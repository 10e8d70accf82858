"""모델이 글을 얼마나 잘 예측하는지 재고, 두 모델을 견줍니다."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.evaluation import Subject
    from lightkorllm.evaluation.options import EvaluateOptions


def run(argv: Sequence[str], *, prog: str) -> None:
    """Measure one model or compare two; a table on the screen, files where a folder is given."""
    from lightkorllm.errors import OptionError
    from lightkorllm.evaluation.options import EvaluateOptions
    from lightkorllm.options import load

    options = load(EvaluateOptions, argv, prog=prog)
    if not options.a:
        raise OptionError("A", f"잴 모델을 주세요: {prog} 모델 [견줄 모델]")

    from lightkorllm import evaluation, hardware, hub
    from lightkorllm.cli import _logging
    from lightkorllm.evaluation import report, samples

    _logging.to_stderr("warning", style="plain")
    _logging.quiet_libraries()
    texts = samples.from_files([Path(path) for path in options.text]) or samples.held_out()
    compute = hardware.choose(options.device, gptq=False, model_type="", dtype=options.dtype)
    subjects = [
        evaluation.open_subject(hub.resolve_model(name), device=compute.device, dtype=compute.dtype)
        for name in (options.a, options.b)
        if name
    ]
    a, b = subjects[0], subjects[1] if len(subjects) > 1 else None
    rows = evaluation.compare(a, b, texts, tokens=options.tokens)
    facts = (
        {subject.name: _tasks(subject, options) for subject in subjects} if options.tasks else {}
    )
    made = report.Report(a.name, b.name if b else "", rows, facts, labels=("A", "B"))
    print(made.table())
    if options.output_dir:
        options.output_dir.mkdir(parents=True, exist_ok=True)
        for path in report.write(made, options.output_dir):
            print(f"적었습니다: {path}")


def _tasks(subject: Subject, options: EvaluateOptions) -> dict[str, float]:
    from lightkorllm.evaluation import tasks

    names = [name.strip() for name in (options.tasks or "").split(",") if name.strip()]
    scores = tasks.run(subject, names, limit=options.limit)
    for score in scores:
        error = "" if score.error is None else f" ± {score.error:.3f}"
        print(f"{subject.name} · {score.task} · {score.metric}: {score.value:.3f}{error}")
    return {f"{score.task}.{score.metric}": score.value for score in scores}
