"""Whether a model fits: what it needs to be served or fine-tuned, from its headers alone."""

from __future__ import annotations

from lightkorllm.fitting.models import find
from lightkorllm.fitting.options import FitOptions
from lightkorllm.fitting.places import Place
from lightkorllm.fitting.serving import Load, Need, need
from lightkorllm.fitting.verdict import Verdict, judge

__all__ = ["FitOptions", "Load", "Need", "Place", "Verdict", "find", "judge", "need"]
