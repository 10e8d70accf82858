"""The door to transformers leaves the process that walks through it as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE", "TRANSFORMERS_CACHE")


def test_importing_gptqmodel_leaves_the_hubs_cache_where_it_was(tmp_path: Path) -> None:
    program = (
        "import os; from lightkorllm import pretrained; pretrained.import_gptqmodel()\n"
        f"print([os.environ.get(name) for name in {CACHES!r}])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in CACHES}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "HF_HUB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines()[-1] == str([None, str(tmp_path), None, None])
