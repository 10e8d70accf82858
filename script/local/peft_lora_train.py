"""The original's fine-tuning script: the same work as `lightkorllm finetune`, flags and all."""

from __future__ import annotations

import sys

from lightkorllm.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command("finetune", sys.argv[1:], prog="peft_lora_train.py"))
