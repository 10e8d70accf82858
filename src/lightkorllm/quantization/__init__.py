"""A model becomes 4-bit GPTQ, calibrated on Korean, with a report of what was lost.

job = quantization.prepare(QuantizeOptions(pretrained_model_dir="./model"))
print(*job.lines(), sep="\\n")
done = quantization.quantize(job.options)
"""

from __future__ import annotations

from lightkorllm.progress import Step
from lightkorllm.quantization.job import Job, Quantised, prepare, quantize, steps
from lightkorllm.quantization.options import QuantizeOptions

__all__ = ["Job", "Quantised", "QuantizeOptions", "Step", "prepare", "quantize", "steps"]
