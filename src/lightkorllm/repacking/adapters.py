"""PEFT's LoRA folders as GGUF adapters.

PEFT adds scale · B·A to a weight, scale = alpha / rank (alpha / √rank for rsLoRA); llama.cpp takes
alpha from the file and divides it by the rank. Both keep A [rank, in] and B [out, rank].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from lightkorllm import checkpoint as checkpoints
from lightkorllm import gguf_header, hub, lora
from lightkorllm import record as records
from lightkorllm.checkpoint import Tensor
from lightkorllm.errors import ModelBroken
from lightkorllm.lora import CONFIG, WEIGHTS, Lora
from lightkorllm.repacking import architectures, container
from lightkorllm.repacking.architectures.base import Architecture
from lightkorllm.repacking.container import GgufTensor
from lightkorllm.repacking.plan import language_part
from lightkorllm.repacking.result import Repacked
from lightkorllm.repacking.weights import Floats, floats

_BEYOND_LORA = (
    "use_dora", "modules_to_save", "lora_bias", "alpha_pattern", "trainable_token_indices",
    "target_parameters", "fan_in_fan_out", "layer_replication", "alora_invocation_tokens",
    "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "velora_config",
    "monteclora_config",
)  # fmt: skip
_NOT_LINEAR = ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class _Pair:
    """A and B of one layer of the base."""

    layer: str
    a: Tensor
    b: Tensor


def to_gguf(folder: Path, target: Path, *, base: Path) -> Repacked:
    """See `lightkorllm.repacking.adapter_to_gguf`."""
    adapter = lora.read(folder)
    family, model = _base(base, adapter)
    lora.require_fit(adapter, model)
    config = checkpoints.read_json(folder / CONFIG)
    _require_plain_lora(folder, config)
    pairs = list(_pairs(folder))
    alpha = _alpha(folder, config, pairs)
    tensors = [tensor for pair in pairs for tensor in _tensors(pair, family)]

    def describe(writer: gguf.GGUFWriter) -> None:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_name(folder.resolve().name)

    container.write(target, family.name, describe=describe, tensors=tensors)
    if record := records.read(folder):
        records.write(record, target)
    return Repacked(target, 0.0, (f"LoRA 층 {len(pairs)}개를 값을 바꾸지 않고 옮겼습니다.",))


def _base(path: Path, adapter: Lora) -> tuple[Architecture, lora.Base]:
    """The family of a checkpoint folder or GGUF file, and its shapes by the adapter's names."""
    if path.suffix.lower() != ".gguf":
        part = language_part(checkpoints.read(path))
        return architectures.of(part), lora.base_of_checkpoint(part, name=hub.name_of(part.folder))
    header = gguf_header.read(path)
    family = architectures.of_gguf(header, path)
    shapes = {}
    for layer in (*adapter.layers, *adapter.whole):
        if shape := header.tensors.get(family.find_name(f"{layer}.weight") or ""):
            shapes[layer] = shape
    return family, lora.Base(path.stem, shapes)


def _require_plain_lora(folder: Path, config: Mapping[str, Any]) -> None:
    refused = [name for name in _BEYOND_LORA if config.get(name)]
    if config.get("bias", "none") != "none":
        refused.append("bias")
    if refused:
        raise ModelBroken(
            f"{folder} 어댑터는 {', '.join(refused)}을(를) 써서 llama.cpp의 LoRA로 나타낼 수 "
            "없습니다. transformers 엔진에서 그대로 쓰거나, 모델에 합친 뒤 모델을 옮겨 주세요."
        )


def _pairs(folder: Path) -> Iterator[_Pair]:
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in checkpoints.read_header(folder / WEIGHTS).items():
        found = lora.PEFT_NAME.fullmatch(name)
        if not found or found["embedding"] or found["layer"].endswith(_NOT_LINEAR):
            raise ModelBroken(f"{folder} 어댑터의 {name}은(는) GGUF로 옮길 수 없습니다.")
        sides.setdefault(checkpoints.language_name(found["layer"]), {})[found["side"]] = tensor
    for layer, pair in sides.items():
        yield _Pair(layer, pair["A"], pair["B"])


def _alpha(folder: Path, config: Mapping[str, Any], pairs: list[_Pair]) -> float:
    """The one alpha of the file. Raises `ModelBroken` where ranks are not as declared.

    llama.cpp divides by each layer's own rank, as PEFT does; under rsLoRA by the root of one.
    """
    ranks = sorted({pair.a.shape[0] for pair in pairs})
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, (int, float)):
        raise ModelBroken(f"{folder / CONFIG}에 r이나 lora_alpha가 없거나 수가 아닙니다.")
    declared = {rank, *(config.get("rank_pattern") or {}).values()}
    if not declared.issuperset(ranks):
        raise ModelBroken(
            f"{folder} 어댑터의 가중치 랭크는 {ranks}인데 {CONFIG}에는 {sorted(declared)}라고 "
            "적혀 있습니다. 어댑터를 다시 저장해 주세요."
        )
    if not config.get("use_rslora"):
        return float(alpha)
    if len(ranks) > 1:
        raise ModelBroken(
            f"{folder}처럼 층마다 랭크가 다른(rank_pattern) rsLoRA는 GGUF 어댑터로 나타낼 수 "
            "없습니다. transformers 엔진에서 그대로 써 주세요."
        )
    return float(alpha * sqrt(ranks[0]))


def _tensors(pair: _Pair, family: Architecture) -> Iterator[GgufTensor]:
    name = family.tensor_name(f"{pair.layer}.weight")
    order = family.row_order(pair.layer)
    b = floats(pair.b)
    narrow = pair.a.dtype == pair.b.dtype == "F16"
    for side, numbers in (("a", floats(pair.a)), ("b", b if order is None else b[order])):
        yield _tensor(f"{name}.lora_{side}", numbers, narrow=narrow)


def _tensor(name: str, numbers: Floats, *, narrow: bool) -> GgufTensor:
    """Numbers as they were stored: `narrow` ones came from float16 and go back to it."""
    if narrow:
        halves = numbers.astype(np.float16)
        kind = gguf.GGMLQuantizationType.F16
        return GgufTensor(name, numbers.shape, kind, lambda: [halves.view("u1")])
    return GgufTensor(
        name, numbers.shape, gguf.GGMLQuantizationType.F32, lambda: [numbers.view("u1")]
    )
