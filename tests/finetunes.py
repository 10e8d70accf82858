"""Options of short fine-tuning runs on tiny models."""

from __future__ import annotations

from pathlib import Path

from lightkorllm.finetuning import FinetuneOptions

SHORT: dict[str, object] = {
    "max_train_step": 12,
    "train_batch_size": 4,
    "gradient_accumulation_step": 1,
    "learning_rate": 2e-2,
    "max_length": 256,
    "samples": 2,
    "dtype": "float32",
    "device": "cpu",
    "force": True,
}


def options(base: Path, data: Path, output: Path, **changes: object) -> FinetuneOptions:
    """A short run that learns fast: twelve steps."""
    places = {"base_model_dir": str(base), "dataset_dir": str(data), "train_output_dir": output}
    return FinetuneOptions(**(places | SHORT | changes))  # type: ignore[arg-type]
