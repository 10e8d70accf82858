"""LoRA 어댑터를 바탕 모델에 합쳐 모델 폴더 하나로 만듭니다."""

from __future__ import annotations

from collections.abc import Sequence


def run(argv: Sequence[str], *, prog: str) -> None:
    """Check, merge, and tell where the model is."""
    from lightkorllm.cli import _logging
    from lightkorllm.merging import MergeOptions
    from lightkorllm.options import load

    options = load(MergeOptions, argv, prog=prog)
    _logging.to_stderr("warning", style="plain")

    from lightkorllm import merging

    job = merging.prepare(options)
    _logging.quiet_libraries()
    print(f"{job.base_name} + {job.adapter.path} → {job.output} ({job.dtype})", flush=True)
    done = merging.run(job)
    print(f"다 되었습니다: {done.folder}")
    print(f"써 보기: lightkorllm serve --model {done.folder}")
