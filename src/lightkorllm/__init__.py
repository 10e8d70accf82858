"""LightKorLLM: quantise, fine-tune, try and serve a Korean language model on the machine at hand."""

from __future__ import annotations

__version__ = "0.1.0"
