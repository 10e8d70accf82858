"""One JSON object on standard output, for programs."""

from __future__ import annotations

import json
import sys
from typing import Any


def show(told: dict[str, Any]) -> None:
    """Write it; where the output cannot hold Korean, it is escaped."""
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(told, ensure_ascii=not is_unicode, indent=2))
