"""The page's pure JavaScript modules, tested by Node's own runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.case("K06")
def test_events_and_markdown_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    script = Path(__file__).parent / "modules.test.mjs"
    done = subprocess.run(
        [node, "--test", str(script)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout
