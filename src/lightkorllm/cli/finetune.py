"""모델을 내 데이터로 LoRA 미세조정합니다."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightkorllm.finetuning import Job

_PHASES = {"load": "준비", "train": "학습", "finish": "마무리"}


def run(argv: Sequence[str], *, prog: str) -> None:
    """Check, tell the numbers, fine-tune with progress, and tell what came of it."""
    from lightkorllm.cli import _logging, _progress
    from lightkorllm.finetuning.options import FinetuneOptions
    from lightkorllm.options import load

    options = load(FinetuneOptions, argv, prog=prog)
    _logging.to_stderr("warning", style="plain")
    _logging.quiet_libraries()

    from lightkorllm import finetuning

    job = finetuning.prepare(options)
    print(*job.lines(), sep="\n", flush=True)
    if options.dry_run:
        _show_rows(job)
        return
    try:
        done = _progress.follow(finetuning.steps(job), _PHASES)
    except KeyboardInterrupt:
        saved = job.saved_step()
        print(
            f"\n멈추고 {saved:,}단계까지 저장했습니다. 같은 명령으로 이어서 할 수 있습니다."
            if saved
            else "\n멈추었습니다. 저장한 단계가 없어 같은 명령은 처음부터 합니다."
        )
        raise
    print(*done.notes, sep="\n", end="\n" if done.notes else "")
    scores = done.record.scores
    if "held_out_loss" in scores:
        before, after = scores["held_out_loss_before"], scores["held_out_loss"]
        print(f"떼어 둔 행의 손실: {before:.3f} → {after:.3f} ({after / before - 1:+.1%})")
    print(f"초당 배운 토큰: {done.outcome.tokens_per_second:.1f}")
    print(f"다 되었습니다: {done.folder}")
    model = f"--model {options.base_model_dir} " if options.base_model_dir else ""
    print(f"써 보기: lightkorllm serve {model}--peft_lora_dir {done.folder}")
    if done.uploaded:
        print(f"올렸습니다: {done.uploaded}")


def _show_rows(job: Job) -> None:
    """The first rows as the model will see them."""
    from lightkorllm.cli import _rows
    from lightkorllm.data import preview

    dataset = job.datasets[0]
    _rows.show(dataset, preview.by_tokens(dataset.items, job.encoder, rows=3))
