"""Data sets: any file becomes rows, any row a conversation or a document.

dataset = data.load("내_데이터.csv")
dataset.items, dataset.format, dataset.faults, dataset.fingerprint
"""

from __future__ import annotations

from lightkorllm.data.dataset import Dataset, Document, Fault, Item
from lightkorllm.data.loading import load

__all__ = ["Dataset", "Document", "Fault", "Item", "load"]
