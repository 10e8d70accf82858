"""이 컴퓨터에서 무엇이 되고 무엇이 빠졌는지 살펴봅니다."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_STATES = {"ok": "[좋음]", "missing": "[없음]", "bad": "[문제]"}


def run(argv: Sequence[str], *, prog: str) -> None:
    """Tell every check as it is done; exits with 1 where no model can be served."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--json", action="store_true", help="사람이 읽을 글 대신 JSON 하나를 씁니다"
    )
    told = parser.parse_args(list(argv))

    from dataclasses import asdict

    from lightkorllm import doctor
    from lightkorllm.cli import _json

    found = []
    for check in doctor.examine():
        found.append(check)
        if told.json:
            continue
        print(f"{_STATES[check.state]} {check.name}: {check.found}", flush=True)
        if check.mend:
            print(f"       → {check.mend}", flush=True)
    works = doctor.serving_works(found)
    if told.json:
        _json.show({"serving_works": works, "checks": [asdict(check) for check in found]})
    else:
        print("\n서빙할 수 있습니다." if works else "\n아직 서빙할 수 없습니다. →를 따라 고치세요.")
    if not works:
        raise SystemExit(1)
