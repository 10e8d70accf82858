"""How much memory fine-tuning needs, from sizes alone, and what to change where it is too little.

A model in the style of Llama: per layer seven linear layers. Adapters are learned in float32 with
two Adam moments each. Measured against real runs in benchmarks/results/finetune.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lightkorllm import memory
from lightkorllm.errors import NotEnough
from lightkorllm.finetuning.base import Base, Kernel
from lightkorllm.shape import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_OVERHEAD = 600 * 1024**2  # Python, torch and its buffers
_ADAM = 16  # bytes per adapter weight: the weight, its gradient and two moments in float32
_STATE = 12  # bytes per adapter weight on disk: the weight and its two moments
_LOGITS = 10  # bytes per logit: in the model's type, widened, their softmax and their gradient
_ROOM = 0.9  # of what is free may be used


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory at the peak of a step, by what takes them."""

    weights: int
    adapter: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.weights + self.adapter + self.activations + self.logits + _OVERHEAD

    def __str__(self) -> str:
        return (
            f"{memory.text(self.total)} (가중치 {memory.text(self.weights)}, 어댑터 "
            f"{memory.text(self.adapter)}, 중간값 {memory.text(self.activations)}, 로짓 "
            f"{memory.text(self.logits)})"
        )


@dataclass(frozen=True, slots=True)
class Load:
    """What is chosen: tokens that are computed at once, how many of them are learned, and how."""

    tokens: int
    learned: int
    dtype: str
    kernel: Kernel
    adapter_parameters: int
    checkpointing: bool


def need(base: Base, load: Load) -> Need:
    """What a step of this load takes on this base."""
    shape, width = base.shape, BYTES[load.dtype]
    weights = shape.stored if load.kernel == "packed" else shape.parameters * width
    return Need(
        weights=weights,
        adapter=load.adapter_parameters * _ADAM,
        activations=_activations(shape, load, width),
        logits=load.learned * shape.vocabulary * _LOGITS,
    )


def adapter_parameters(shape: Shape, *, rank: int, every_layer: bool) -> int:
    """Weights of an adapter on q, k, v and o, or on every linear layer of the decoder."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    widths = 2 * (shape.hidden + query) + 2 * (shape.hidden + key)
    if every_layer:
        widths += 3 * (shape.hidden + shape.intermediate)
    return rank * widths * shape.layers


def _activations(shape: Shape, load: Load, width: int) -> int:
    """What the backward pass needs of the forward pass: inputs of the linear layers and norms,
    the adapter's float32 copies of them, and attention's scores where no fused kernel drops them.
    """
    query = shape.heads * shape.head_dim
    per_token = width * (8 * shape.hidden + 4 * query + 5 * shape.intermediate)
    per_token += 4 * (3 * shape.hidden + query + shape.intermediate)
    layer = load.tokens * per_token
    if load.checkpointing:
        return load.tokens * shape.hidden * width * shape.layers + 2 * layer
    return layer * shape.layers


def milder(load: Load) -> Iterator[tuple[str, Load]]:
    """Changes that take less memory, mildest first, each with its Korean words."""
    if not load.checkpointing:
        yield "--gradient_checkpointing on으로", replace(load, checkpointing=True)
    for parts in (2, 4, 8, 16):
        tokens = -(-load.tokens // parts)
        less = replace(load, tokens=tokens, learned=-(-load.learned // parts), checkpointing=True)
        words = f"--gradient_checkpointing on --train_batch_size 1 --max_length {tokens}로"
        yield words, less


def disk(load: Load) -> int:
    """Bytes that three checkpoints (one of them being written), the best and the result take."""
    return load.adapter_parameters * (3 * _STATE + 4 + 4)


def require_disk(load: Load, folder: Path, *, free: int) -> None:
    """Raise `NotEnough` with both numbers where a run's files would fill the disk of `folder`."""
    if disk(load) > free:
        raise NotEnough(
            f"디스크가 모자랍니다: {folder}에 약 {memory.text(disk(load))}가 필요한데 "
            f"{memory.text(free)}만 남아 있습니다. 공간을 비우거나 --train_output_dir로 다른 "
            "디스크를 골라 주세요. 그래도 하려면 --force를 붙이세요."
        )


def fits(base: Base, load: Load, free: int | None) -> bool:
    """Whether a load leaves some of what is free; True where the system does not tell."""
    return free is None or need(base, load).total <= free * _ROOM


def require_space(base: Base, load: Load, *, free: int | None) -> None:
    """Raise `NotEnough`, with what would fit, where a load takes more than is free."""
    if free is None or fits(base, load, free):
        return
    needed = need(base, load)
    words = next((words for words, less in milder(load) if fits(base, less, free)), "")
    advice = f"{words} 바꾸면 들어갑니다" if words else "더 작은 모델을 쓰세요"
    raise NotEnough(
        f"메모리가 모자랍니다: {needed} 필요, 남은 것은 {memory.text(free)}입니다. {advice}. "
        "그래도 하려면 --force를 붙이세요."
    )
