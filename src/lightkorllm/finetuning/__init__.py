"""Fine-tuning with LoRA: data is rendered as the server renders it, and a run survives a kill.

Torch, transformers and PEFT are loaded when a job is prepared.
"""

from __future__ import annotations

from lightkorllm.finetuning.job import Finetuned, Job, finetune, prepare, steps
from lightkorllm.finetuning.options import FinetuneOptions

__all__ = ["FinetuneOptions", "Finetuned", "Job", "finetune", "prepare", "steps"]
