"""The original's quantisation script: the same work as `lightkorllm quantize`, flags and all."""

from __future__ import annotations

import sys

from lightkorllm.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("quantize", sys.argv[1:], prog="AutoGPTQ_quantization.py"))
