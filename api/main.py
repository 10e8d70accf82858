"""The original's server start: `python api/main.py …` is `lightkorllm serve …`."""

from __future__ import annotations

import sys

from lightkorllm.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("serve", sys.argv[1:], prog="main.py"))
