"""Reported failures of the field that are closed here: each has a test that bears its id."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CLOSED = (
    "F01 F02 F04 F05 F06 F07 F08 F09 F10 F11 F12 F13 F15 F18 F19 F20 F21 F22 "
    "K01 K03 K04 K06 K07 K09 K10 K11 K12 K14 K15 K16 K18 K19 K21 K22 K23 K24 K25 K26 K27 K29 "
    "Q01 Q02 Q03 Q04 Q05 Q07 Q09 Q10 Q12 Q13 Q14 Q16 Q17 Q18 Q19 "
    "S01 S02 S04 S06 S07 S08 S10 S11 S12 S13 S15 S16 S17 S18 S19 S20 S21 S23 S24 S25 S26 S28 "
    "S29 S30 S33 S36 S37 S38 S39 S40 S41 S42 S43 S44 S45 S46 S47 S48 S49 S50"
)

MARKS = re.findall(
    r"mark\.case\(([^)]*)\)",
    "\n".join(
        file.read_text(encoding="utf-8") for file in Path(__file__).parent.rglob("test_*.py")
    ),
)
MARKED = {case for mark in MARKS for case in re.findall(r"[A-Z]\d\d", mark)}


@pytest.mark.parametrize("case", CLOSED.split())
def test_a_closed_case_has_a_test_that_bears_its_id(case: str) -> None:
    assert case in MARKED
