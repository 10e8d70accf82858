"""How good a model is, in numbers: measured on texts, compared with another, told in a report."""

from __future__ import annotations

from lightkorllm.evaluation.measure import (
    Drift,
    Fit,
    Measured,
    Sample,
    compare,
)
from lightkorllm.evaluation.subject import Subject, open_subject, plain_model

__all__ = [
    "Drift",
    "Fit",
    "Measured",
    "Sample",
    "Subject",
    "compare",
    "open_subject",
    "plain_model",
]
