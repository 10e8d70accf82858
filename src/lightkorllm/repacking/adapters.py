"""PEFT's LoRA folders as GGUF adapters.

PEFT adds scale · B·A to a weight, scale = alpha / rank (alpha / √rank for rsLoRA); llama.cpp takes
alpha from the file and divides it by the rank. Both keep A [rank, in] and B [out, rank].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import gguf

from lightkorllm import checkpoint as checkpoints
from lightkorllm import record as records
from lightkorllm.checkpoint import Checkpoint, Tensor
from lightkorllm.errors import ModelBroken
from lightkorllm.repacking import architectures, container
from lightkorllm.repacking.architectures.base import Architecture
from lightkorllm.repacking.container import GgufTensor
from lightkorllm.repacking.plan import language_name, language_part
from lightkorllm.repacking.result import Repacked
from lightkorllm.repacking.weights import Floats, floats

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight")
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
    config = checkpoints.read_json(folder / CONFIG)
    _require_plain_lora(folder, config)
    model = language_part(checkpoints.read(base))
    family = architectures.of(model)
    pairs = list(_pairs(folder))
    alpha = _alpha(folder, config, pairs)
    _require_fit(folder, model, pairs)
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


def _require_plain_lora(folder: Path, config: Mapping[str, Any]) -> None:
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise ModelBroken(
            f"{folder}에는 피클 가중치(adapter_model.bin)만 있습니다. 피클은 열기만 해도 코드가 "
            f"실행될 수 있어 쓰지 않습니다. PEFT로 다시 저장해 {WEIGHTS}로 만들어 주세요."
            if pickled
            else f"{folder}에 {WEIGHTS} 파일이 없습니다."
        )
    refused = [name for name in _BEYOND_LORA if config.get(name)]
    if config.get("peft_type") != "LORA":
        refused.append(f"{config.get('peft_type')} 방식")
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
        found = _NAME.fullmatch(name)
        if not found or found["layer"].endswith(_NOT_LINEAR):
            raise ModelBroken(f"{folder} 어댑터의 {name}은(는) GGUF로 옮길 수 없습니다.")
        sides.setdefault(language_name(found["layer"]), {})[found["side"]] = tensor
    for layer, pair in sides.items():
        if set(pair) != {"A", "B"}:
            raise ModelBroken(f"{folder} 어댑터의 {layer} 층에 A와 B 가운데 하나가 없습니다.")
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


def _require_fit(folder: Path, model: Checkpoint, pairs: list[_Pair]) -> None:
    for pair in pairs:
        wanted = _shape(model, pair.layer)
        given = (pair.b.shape[0], pair.a.shape[1])
        if wanted is None:
            raise ModelBroken(
                f"{folder} 어댑터의 {pair.layer} 층이 {model.folder}에 없습니다. "
                "다른 모델로 훈련한 어댑터가 아닌지 확인해 주세요."
            )
        if wanted != given or pair.b.shape[1] != pair.a.shape[0]:
            raise ModelBroken(
                f"{folder} 어댑터의 {pair.layer} 층은 {list(given)}인데 {model.folder}의 그 층은 "
                f"{list(wanted)}입니다. 다른 모델로 훈련한 어댑터가 아닌지 확인해 주세요."
            )


def _shape(model: Checkpoint, layer: str) -> tuple[int, ...] | None:
    """(out, in) of a layer of the base, quantised or not."""
    if model.gptq and (packed := model.tensors.get(f"{layer}.qweight")):
        words, rows = packed.shape
        return rows, words * 32 // model.gptq.bits
    plain = model.tensors.get(f"{layer}.weight")
    return plain.shape if plain else None


def _tensors(pair: _Pair, family: Architecture) -> Iterator[GgufTensor]:
    name = family.tensor_name(f"{pair.layer}.weight")
    order = family.row_order(pair.layer)
    b = floats(pair.b)
    for side, numbers in (("a", floats(pair.a)), ("b", b if order is None else b[order])):
        yield _tensor(f"{name}.lora_{side}", numbers)


def _tensor(name: str, numbers: Floats) -> GgufTensor:
    return GgufTensor(
        name, numbers.shape, gguf.GGMLQuantizationType.F32, lambda: [numbers.view("u1")]
    )
