"""Every tensor of a checkpoint with its GGUF name and format, to be made when it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from lightkorllm.checkpoint import Checkpoint, Tensor, language_name
from lightkorllm.errors import ModelBroken
from lightkorllm.repacking import blocks, gptq, kinds
from lightkorllm.repacking.architectures.base import Architecture
from lightkorllm.repacking.container import GgufTensor
from lightkorllm.repacking.kinds import Kind
from lightkorllm.repacking.weights import Bytes, Floats, Rows, floats, row_blocks

_PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
_LEFT_OUT = (".rotary_emb.inv_freq", ".attn.bias", ".masked_bias")
_OTHER_ROOMS = ("vision_tower.", "multi_modal_projector.", "visual.", "mtp.")


@dataclass
class Account:
    """What became of the quantised layers: the largest change, and how many of which format."""

    changed: float = 0.0
    layers: dict[str, int] = field(default_factory=dict)

    def count(self, label: str) -> None:
        self.layers[label] = self.layers.get(label, 0) + 1

    def add(self, change: float) -> None:
        self.changed = max(self.changed, change)

    def notes(self) -> list[str]:
        """Korean sentences on the quantised layers; none where there are none."""
        if not self.layers:
            return []
        made = ", ".join(f"{label} {number}개" for label, number in self.layers.items())
        kept = "가중치는 하나도 바뀌지 않았습니다"
        lost = f"가중치는 많아야 {self.changed:.3g}만큼 바뀌었습니다"
        return [f"GPTQ 층을 옮겼습니다: {made}. {lost if self.changed else kept}."]


@dataclass(frozen=True)
class Plan:
    """How to turn one checkpoint into GGUF tensors; `kind` and `embedding` as the user asked."""

    checkpoint: Checkpoint
    architecture: Architecture
    kind: str
    embedding: str
    account: Account = field(default_factory=Account)

    def tensors(self) -> list[GgufTensor]:
        """All tensors in the order of the file. Raises `ModelBroken` for what can't be carried."""
        extra = self.architecture.extra_tensors()
        found = [_small(name, numbers) for name, numbers in extra.items()]
        for name, tensor in self.checkpoint.tensors.items():
            if name.endswith(_PARTS):
                if name.endswith(".qweight"):
                    found.append(self._packed(name.removesuffix(".qweight")))
            elif not self._left_out(name, tensor):
                found.append(self._plain(name, tensor))
        _require_complete(self.checkpoint, found, tied=self.architecture.tied)
        return sorted(found, key=lambda tensor: _place(tensor.name))

    def _left_out(self, name: str, tensor: Tensor) -> bool:
        if name == "lm_head.weight" and self.architecture.tied:
            return True
        empty_bias = name.endswith(".bias") and f"{name[:-5]}.qweight" in self.checkpoint.tensors
        return name.endswith(_LEFT_OUT) or (empty_bias and not floats(tensor).any())

    def _plain(self, name: str, tensor: Tensor) -> GgufTensor:
        target = self.architecture.tensor_name(name)
        order, shift = self.architecture.row_order(name), self.architecture.shift(name)
        if len(tensor.shape) == 1:
            numbers = floats(tensor) + np.float32(shift)
            return _small(target, numbers if order is None else numbers[order])
        kind = self._kind_of_plain(target, tensor)
        return GgufTensor(target, tensor.shape, kind, partial(_encoded, tensor, order, kind))

    def _kind_of_plain(self, target: str, tensor: Tensor) -> Kind:
        outer = target in ("token_embd.weight", "output.weight")
        last = target == "output.weight" or (outer and self.architecture.tied)
        wanted = self.embedding if outer else self.kind
        if wanted == "exact":
            return kinds.holding(tensor)
        return kinds.of_matrix(
            wanted, target, width=tensor.shape[-1], layers=self.architecture.layers, output=last
        )

    def _packed(self, layer: str) -> GgufTensor:
        """A GPTQ layer: in blocks where they hold it, else through its float32 weights."""
        target = self.architecture.tensor_name(f"{layer}.weight")
        order = self.architecture.row_order(layer)
        grid = gptq.grid(self.checkpoint, layer)
        misfit = blocks.misfit(grid)
        wanted = self._kind_of_packed(layer, grid, misfit)
        exact = misfit is None and wanted in blocks.usable_kinds(grid)
        if exact:
            kind = kinds.named(wanted)
            make = partial(self._repacked, layer, order, wanted)
        else:
            kind = kinds.of_matrix(
                wanted, target, width=grid.shape[1], layers=self.architecture.layers, output=False
            )
            make = partial(self._requantised, layer, order, kind)
        self.account.count(kind.name if exact else f"{kind.name}(풀어서 다시)")
        return GgufTensor(target, grid.shape, kind, make)

    def _kind_of_packed(self, layer: str, grid: gptq.Grid, misfit: str | None) -> str:
        if self.kind != "auto":
            return self.kind
        if misfit is None:
            return blocks.natural_kind(grid)
        raise ModelBroken(
            f"{self.checkpoint.folder}의 {layer} 층은 {misfit}. 그래서 GGUF의 32개짜리 묶음으로 "
            "그대로 옮길 수 없습니다. transformers 엔진으로 실행하거나, 값이 조금 바뀌어도 된다면 "
            "`--type q8_0`이나 `--type f16`으로 다시 양자화해 주세요."
        )

    def _repacked(self, layer: str, order: Rows | None, kind: str) -> Iterator[Bytes]:
        data, change = blocks.WRITERS[kind](gptq.layer(self.checkpoint, layer).rows(order))
        self.account.add(change)
        yield data

    def _requantised(self, layer: str, order: Rows | None, kind: Kind) -> Iterator[Bytes]:
        weights = gptq.layer(self.checkpoint, layer).rows(order).weights()
        for part in np.array_split(weights, max(1, weights.size >> 22)):
            data = kinds.encoded(part, kind)
            self.account.add(float(np.abs(kinds.decoded(data, kind) - part).max()))
            yield data


def language_part(checkpoint: Checkpoint) -> Checkpoint:
    """The tensors of the language model alone, named as in a model that is nothing else."""
    named = {}
    for original, tensor in checkpoint.tensors.items():
        name = language_name(original)
        if not name.removeprefix("model.").startswith(_OTHER_ROOMS):
            named[name] = tensor
    return replace(checkpoint, tensors=named)


def _encoded(tensor: Tensor, order: Rows | None, kind: Kind) -> Iterable[Bytes]:
    return (kinds.encoded(block, kind) for block in row_blocks(tensor, order))


def _small(name: str, numbers: Floats) -> GgufTensor:
    data = numbers.astype("<f4").view(np.uint8)
    return GgufTensor(name, numbers.shape, Kind.F32, lambda: [data])


def _require_complete(checkpoint: Checkpoint, found: Iterable[GgufTensor], *, tied: bool) -> None:
    """Refuse a checkpoint without its ends, or whose layers don't all have the same parts."""
    names = {tensor.name for tensor in found}
    ends = {"token_embd.weight", "output_norm.weight", *([] if tied else ["output.weight"])}
    if lacking := sorted(ends - names):
        raise ModelBroken(
            f"{checkpoint.folder}에 {', '.join(lacking)}에 해당하는 가중치가 없습니다. "
            "가중치 파일을 모두 받았는지 확인해 주세요."
        )
    parts: dict[str, set[str]] = {}
    for tensor in found:
        if match := re.match(r"blk\.(\d+)\.(.+)", tensor.name):
            parts.setdefault(match[2], set()).add(match[1])
    layers = set().union(*parts.values())
    for part, there in parts.items():
        if missing := sorted(layers - there, key=int):
            raise ModelBroken(
                f"{checkpoint.folder}의 {missing[0]}번 층에 {part}이(가) 없습니다. "
                "가중치 파일을 모두 받았는지 확인해 주세요."
            )


def _place(name: str) -> tuple[int, int, str]:
    found = re.match(r"blk\.(\d+)\.", name)
    return (1, int(found[1]), name) if found else (0, 0, name)
