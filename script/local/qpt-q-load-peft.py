"""The original's script to try a model: the same work as `lightkorllm chat`, flags and all."""

from __future__ import annotations

import sys

from lightkorllm.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("chat", sys.argv[1:], prog="qpt-q-load-peft.py"))
