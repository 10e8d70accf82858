"""Korean questions and answers that ship with the package, written for it and given away (CC0).

One file one kind, in two folders that share no question: `training` and `held_out`.
"""

from __future__ import annotations

from lightkorllm.data.dataset import Dataset
from lightkorllm.data.loading import HELD_OUT, TRAINING, load


def training() -> Dataset:
    """The pairs to learn from, file after file."""
    return load(TRAINING)


def held_out() -> Dataset:
    """The pairs to measure what was learned on."""
    return load(HELD_OUT)
