"""What fine-tuning a model takes, asked of the plan that fine-tuning itself makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from lightkorllm import embedded
from lightkorllm.checkpoint import Gptq
from lightkorllm.finetuning import plan
from lightkorllm.finetuning.base import Base, Kernel
from lightkorllm.finetuning.plan import Load
from lightkorllm.fitting.options import FitOptions
from lightkorllm.fitting.places import Place

KERNELS = {
    "plain": "있는 그대로",
    "packed": "묶인 GPTQ 가중치",
    "unpacked": "풀어 놓은 GPTQ 가중치",
}
_SHORTEST_ROW = 256
_AT_ONCE = {"ram": 512, "card": 8192}  # tokens, as finetuning/preparing.py has them


def load(model: Base, place: Place, options: FitOptions) -> Load:
    """A step of the longest rows, all of them learned, checkpointing where it is needed."""
    kernel: Kernel = "plain"
    if model.is_gptq:
        kernel = "packed" if place.kind == "card" else "unpacked"
    tokens = options.max_length * options.train_batch_size
    tokens = max(options.max_length, min(_AT_ONCE[place.kind], tokens))
    chosen = Load(
        tokens=tokens,
        learned=tokens,
        dtype=place.dtype(model.model_type),
        kernel=kernel,
        adapter_parameters=plan.adapter_parameters(
            model.shape, rank=options.lora_rank, every_layer=False
        ),
        checkpointing=False,
    )
    fits = plan.need(model, chosen).total <= place.room
    return chosen if fits else replace(chosen, checkpointing=True)


def row_fits(model: Base, chosen: Load, place: Place, tokens: int) -> bool:
    """Whether one row of so many tokens can be learned there at a time."""
    row = replace(chosen, tokens=tokens, learned=tokens, checkpointing=True)
    return plan.need(model, row).total <= place.room


def milder(model: Base, place: Place, options: FitOptions) -> Iterator[tuple[str, int]]:
    """The mildest changes that fit, with these weights and in 4 bit: words and bytes needed."""
    for ways in (_smaller_steps(model, place, options), _in_four_bit(model, place, options)):
        yield from islice((way for way in ways if way[1] <= place.room), 1)


def _in_four_bit(model: Base, place: Place, options: FitOptions) -> Iterator[tuple[str, int]]:
    if model.is_gptq or model.checkpoint is None:
        return
    shape = replace(model.shape, stored=model.shape.quantised())
    packed = replace(model, shape=shape, checkpoint=replace(model.checkpoint, gptq=Gptq(4, 128)))
    words = f"4비트로 양자화(lightkorllm quantize --model {model.name})"
    yield words, _total(packed, place, options)
    for more, total in _smaller_steps(packed, place, options):
        yield f"{words} {more}", total


def _smaller_steps(model: Base, place: Place, options: FitOptions) -> Iterator[tuple[str, int]]:
    rows, tokens = options.train_batch_size, options.max_length
    while rows > 1:
        rows //= 2
        less = replace(options, train_batch_size=rows)
        yield f"--train_batch_size {rows}", _total(model, place, less)
    while tokens > _SHORTEST_ROW:
        tokens //= 2
        less = replace(options, train_batch_size=1, max_length=tokens)
        yield f"--train_batch_size 1 --max_length {tokens}", _total(model, place, less)


def _total(model: Base, place: Place, options: FitOptions) -> int:
    return plan.need(model, load(model, place, options)).total


def command(model: Base, options: FitOptions) -> str:
    words = [
        "lightkorllm finetune",
        *([] if model.name == embedded.NAME else [f"--model {model.name}"]),
        "--dataset 데이터",
        f"--max_length {options.max_length}",
        f"--train_batch_size {options.train_batch_size}",
        f"--lora_rank {options.lora_rank}",
    ]
    return " ".join(words)


def notes(model: Base, place: Place) -> Iterator[str]:
    yield "모든 토큰을 배운다고 보았습니다. 질문은 배우지 않으므로 대개 이보다 적게 듭니다."
    if model.is_gptq and place.kind == "ram":
        yield "CPU에서는 빠른 계산을 위해 GPTQ 가중치를 풀어서 올립니다."
    if place.advice:
        yield place.advice
