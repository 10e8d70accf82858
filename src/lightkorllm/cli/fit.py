"""모델이 이 컴퓨터나 카드에 들어가는지 미리 알려 줍니다."""

from __future__ import annotations

from collections.abc import Sequence


def run(argv: Sequence[str], *, prog: str) -> None:
    """Read headers, reckon, and tell; no weight is loaded or fetched."""
    from lightkorllm.cli import _logging
    from lightkorllm.fitting.options import FitOptions
    from lightkorllm.options import load

    options = load(FitOptions, argv, prog=prog)
    _logging.to_stderr("warning", style="plain")

    from lightkorllm import fitting
    from lightkorllm.cli import _json
    from lightkorllm.fitting import places, report

    model = fitting.find(options.model)
    place = places.find(vram=options.vram, device=options.device)
    found = fitting.judge(model, place, options)
    if options.json:
        _json.show(report.as_json(found))
        return
    print(*report.lines(found), sep="\n")
