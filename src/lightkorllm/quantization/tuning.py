"""The scales of a quantised model learn to predict as the original does.

GPTQ chooses each layer's numbers with only that layer in view. Here the codes stay as they are, and
the scales alone are moved down the gradient of the Kullback–Leibler divergence from the original's
predictions to the quantised model's, over the calibration texts. (After EfficientQAT's end-to-end
phase, arXiv:2407.11062.) The checkpoint keeps its format; only some numbers in it are better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightkorllm import checkpoint, evaluation
from lightkorllm.repacking import gptq

_RATE = 2e-3  # of each scale's own size, at the peak of the schedule
_WARM_UP = 5
_TOKENS = 1024  # a step
_POSITIONS = 256  # of them are compared
_LOGITS = 48_000_000  # at most so many at a time, which is what decides in large vocabularies
_JUDGES = 2  # batches that are only looked at, before and after


class _Unpack(torch.autograd.Function):
    """x · (codes · scale)ᵀ whose gradient goes to x and the scales; no weight is kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Any, codes: Any, scales: Any) -> Any:
        ctx.save_for_backward(x, codes, scales)
        return x @ _weight(codes, scales, x.dtype).T

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        (grad,) = above
        x, codes, scales = ctx.saved_tensors
        back = grad @ _weight(codes, scales, x.dtype)
        of_weight = grad.flatten(0, -2).T @ x.flatten(0, -2)
        of_weight = of_weight.float() * codes
        groups = of_weight.view(len(codes), scales.shape[1], -1).sum(-1)
        return back, None, groups


def _weight(codes: Any, scales: Any, dtype: Any) -> Any:
    """Rounded only as a product: a scale alone in 16 bits could not take a step of a percent."""
    groups = codes.view(len(codes), scales.shape[1], -1)
    return (groups * scales[:, :, None]).to(dtype).view(codes.shape)


class _Packed(torch.nn.Module):
    """A linear layer as codes [out, in] and scales [out, groups]; `shift` is what is learned."""

    def __init__(self, layer: gptq.Layer, bias: Any, device: Any) -> None:
        super().__init__()
        self.codes = torch.from_numpy(layer.steps().astype(np.int8)).to(device)
        self.start = torch.from_numpy(layer.grid.scales).float().to(device)
        self.shift = torch.nn.Parameter(torch.zeros_like(self.start))
        self.bias = bias

    @property
    def scales(self) -> Any:
        return self.start * (1 + self.shift)

    def forward(self, x: Any) -> Any:
        unpack: Any = _Unpack
        y = unpack.apply(x, self.codes, self.scales)
        return y if self.bias is None else y + self.bias


class Tuning:
    """One run over one folder: iterate `steps`, then `finish`."""

    def __init__(self, folder: Path, original: Path, *, device: str, dtype: str) -> None:
        self._found = checkpoint.read(folder)
        whole = checkpoint.read(original)
        self._teacher = evaluation.plain_model(whole, device=device, dtype=dtype)
        self._student = evaluation.plain_model(self._found, device=device, dtype=dtype)
        self._student.requires_grad_(False)
        self._layers = {name: self._packed(name) for name in self._found.quantised_layers()}
        if self._teacher.num_parameters() > 1e9:
            self._student.gradient_checkpointing_enable({"use_reentrant": False})
            self._student.train()

    def _packed(self, name: str) -> _Packed:
        parent, _, leaf = name.rpartition(".")
        holder = self._student.get_submodule(parent)
        plain = getattr(holder, leaf)
        packed = _Packed(gptq.layer(self._found, name), plain.bias, plain.weight.device)
        setattr(holder, leaf, packed)
        return packed

    def steps(self, rows: Sequence[Sequence[int]], count: int, *, seed: int) -> Iterator[float]:
        """Take `count` steps; the divergence at each. Stops early where it is no number."""
        torch.manual_seed(seed)
        shifts = [layer.shift for layer in self._layers.values()]
        optimiser = torch.optim.Adam(shifts, lr=_RATE, betas=(0.9, 0.95))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, count))
        batches = _batches(rows, seed=seed)
        for _ in range(count):
            optimiser.zero_grad()
            loss = self._divergence(next(batches), learn=True)
            if not math.isfinite(loss):
                return
            optimiser.step()
            schedule.step()
            yield loss

    def judge(self, rows: Sequence[Sequence[int]]) -> float:
        """Mean divergence over rows, without learning from them."""
        torch.manual_seed(0)  # the same positions each time
        size = _batch_size(rows)
        batches = [rows[at : at + size] for at in range(0, len(rows), size)]
        return sum(self._divergence(batch, learn=False) for batch in batches) / len(batches)

    def _divergence(self, batch: Sequence[Sequence[int]], *, learn: bool) -> float:
        ids = torch.tensor([list(row) for row in batch], device=self._teacher.device)
        places = self._places(ids.shape[0], ids.shape[1])
        with torch.inference_mode():
            wanted = self._teacher(ids, use_cache=False, logits_to_keep=places).logits
        with torch.set_grad_enabled(learn):
            got = self._student(ids, use_cache=False, logits_to_keep=places).logits
        loss, gradient = _compare(got.detach(), wanted)
        if learn:
            got.backward(gradient)
        return loss

    def _places(self, rows: int, length: int) -> Any:
        """Positions to compare, the same in each row, spread evenly."""
        vocabulary = self._teacher.config.get_text_config().vocab_size
        most = max(1, min(_POSITIONS, _LOGITS // vocabulary) // rows)
        step = max(1, length // most)
        offset = torch.randint(step, (1,)).item()
        return torch.arange(int(offset), length, step, device=self._teacher.device)[:most]

    def finish(self) -> None:
        """Write the learned scales into the folder, in the number type they have there."""
        scales = {f"{name}.scales": layer.scales for name, layer in self._layers.items()}
        for file in self._found.weights:
            with safe_open(file, framework="pt") as data:
                metadata = data.metadata()
                tensors = {name: data.get_tensor(name) for name in data.keys()}  # noqa: SIM118
            for name in scales.keys() & tensors.keys():
                learned = scales[name].detach().T.contiguous().cpu()
                tensors[name] = learned.to(tensors[name].dtype)
            save_file(tensors, file, metadata=metadata)


def _compare(got: Any, wanted: Any) -> tuple[float, Any]:
    """Divergence in nats per position, and its gradient: softmax(got) − softmax(wanted)."""
    gradient = torch.empty_like(got)
    count, total = got.shape[0] * got.shape[1], 0.0
    for row in range(got.shape[0]):
        for at in range(0, got.shape[1], 32):
            part = (row, slice(at, at + 32))
            mine = torch.log_softmax(got[part].float(), -1)
            theirs = torch.log_softmax(wanted[part].float(), -1)
            total += float((theirs.exp() * (theirs - mine)).sum())
            gradient[part] = ((mine.exp() - theirs.exp()) / count).to(got.dtype)
    return total / count, gradient


def _share(step: int, count: int) -> float:
    """A short warm-up, then half a cosine down to zero."""
    return min(1.0, (step + 1) / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / count))


def _batch_size(rows: Sequence[Sequence[int]]) -> int:
    return max(1, _TOKENS // max(len(row) for row in rows))


def _batches(rows: Sequence[Sequence[int]], *, seed: int) -> Iterator[list[Sequence[int]]]:
    """Endless batches, each round in a new order; rows of one length in a batch."""
    order, size = random.Random(seed), _batch_size(rows)
    while True:
        shuffled = list(rows)
        order.shuffle(shuffled)
        full = [row for row in shuffled if len(row) == len(shuffled[0])]
        for at in range(0, max(1, len(full) - size + 1), size):
            yield full[at : at + size]


def judges(rows: Sequence[Sequence[int]]) -> int:
    """How many rows at the end are held back to judge by; 0 where there are too few rows."""
    held = _JUDGES * _batch_size(rows)
    return held if len(rows) >= 4 * held else 0
