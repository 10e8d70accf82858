"""모델을 한국어로 보정하며 4비트 GPTQ로 양자화합니다."""

from __future__ import annotations

from collections.abc import Sequence

_PHASES = {"quantise": "양자화", "tune": "다듬기", "report": "측정"}


def run(argv: Sequence[str], *, prog: str) -> None:
    """Check, tell the numbers, quantise with progress, and tell what was lost."""
    from lightkorllm.cli import _logging, _progress
    from lightkorllm.options import load
    from lightkorllm.quantization.options import QuantizeOptions

    options = load(QuantizeOptions, argv, prog=prog)
    _logging.to_stderr("warning", style="plain")
    _logging.quiet_libraries()

    from lightkorllm import quantization

    job = quantization.prepare(options)
    print(*job.lines(), sep="\n", flush=True)
    if options.dry_run:
        return
    try:
        done = _progress.follow(quantization.steps(job), _PHASES)
    except KeyboardInterrupt:
        again = (
            "같은 명령으로 이어서 할 수 있습니다." if job.resumable else "결과는 남지 않았습니다."
        )
        print(f"\n멈추었습니다. {again}")
        raise
    if done.rounded:
        print(
            f"경고: 보정 글이 모자라 선형층 {done.rounded}개는 GPTQ 대신 반올림했습니다. "
            "--samples를 늘리거나 --calibration에 더 긴 글을 주세요."
        )
    if done.report:
        print(f"\n{done.report.table()}\n")
    print(f"다 되었습니다: {done.folder}")
    print(f"써 보기: lightkorllm serve --model {done.folder}")
    if done.uploaded:
        print(f"올렸습니다: {done.uploaded}")
