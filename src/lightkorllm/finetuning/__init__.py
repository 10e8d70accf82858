"""Fine-tuning with LoRA: data is rendered as the server renders it, and a run survives a kill.

Torch, transformers and PEFT are loaded when a job is prepared.
"""

from __future__ import annotations

from lightkorllm.finetuning.job import Finetuned, Job
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.finetuning.preparing import prepare
from lightkorllm.finetuning.running import finetune, steps

__all__ = ["FinetuneOptions", "Finetuned", "Job", "finetune", "prepare", "steps"]
