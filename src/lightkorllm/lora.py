"""LoRA adapters read without loading them: which matrices they change, and whether they fit a base.

Both kinds are read by their headers: PEFT's folders (names as in transformers) and llama.cpp's
GGUF files (names as in GGUF). A base of the same kind of names says whether it has such matrices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkorllm import checkpoint, gguf_header, record
from lightkorllm.checkpoint import language_name
from lightkorllm.errors import ModelBroken, ModelNotFound

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PEFT_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])"
    r"(?:\.\w+)?(?:\.weight)?"
)
_WHOLE_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+?)(?:\.base_layer|\.modules_to_save(?:\.\w+)?)?\.weight"
)
_GGUF_NAME = re.compile(r"(?P<layer>.+)\.weight\.lora_(?P<side>[ab])")
_ADVICE = "이 어댑터를 훈련한 모델을 주세요."
_OF_THE_VOCABULARY = ("embed_tokens", "lm_head", "token_embd", "output")

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter's layers and the shape [out, in] of the matrix that each of them changes.

    `whole` are matrices that it brings along in full, such as the embedding of a wider vocabulary.
    `made_for` names the model that it was trained on and `architecture` is GGUF's word for its
    family; both are empty where the files don't say.
    """

    path: Path
    layers: Mapping[str, Shape]
    whole: Mapping[str, Shape] = field(default_factory=dict)
    made_for: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """A model as an adapter sees it: the shape [out, in] of each matrix, by layer."""

    name: str
    shapes: Mapping[str, Shape]
    architecture: str = ""


def is_folder(path: Path) -> bool:
    """Whether a path is a folder that claims to hold a PEFT adapter."""
    return path.is_dir() and (path / CONFIG).is_file()


def read(path: Path) -> Lora:
    """The adapter in a PEFT folder or a GGUF file.

    Raises `ModelNotFound` where nothing is there and `ModelBroken` for what is no LoRA, is a
    pickle, or lacks one half of a layer.
    """
    return _read_gguf(path) if path.suffix.lower() == ".gguf" else _read_folder(path)


def base_of_checkpoint(found: checkpoint.Checkpoint, *, name: str) -> Base:
    """A checkpoint folder as a base, quantised or not."""
    layers = (name.removesuffix(".weight") for name in found.tensors if name.endswith(".weight"))
    shapes = {layer: found.shape_of(layer) for layer in (*layers, *found.quantised_layers())}
    return Base(name, {language_name(layer): shape for layer, shape in shapes.items() if shape})


def base_of_gguf(header: gguf_header.GgufHeader, *, name: str) -> Base:
    """A GGUF file as a base."""
    shapes = {key.removesuffix(".weight"): shape for key, shape in header.tensors.items()}
    return Base(name, shapes, header.architecture)


def require_fit(adapter: Lora, base: Base) -> None:
    """Refuse an adapter of another model, with both names and shapes. Raises `ModelBroken`."""
    if adapter.architecture and base.architecture not in ("", adapter.architecture):
        raise ModelBroken(
            f"{_named(adapter)}는 {adapter.architecture} 구조의 것인데 {base.name} 모델은 "
            f"{base.architecture} 구조입니다. {_ADVICE}"
        )
    missing = [layer for layer in adapter.layers if layer not in base.shapes]
    if missing:
        raise ModelBroken(
            f"{_named(adapter)}의 층 {len(adapter.layers)}개 가운데 {len(missing)}개"
            f"({missing[0]} …)가 {base.name} 모델에는 없습니다. {_ADVICE}"
        )
    for layer, given in (*adapter.whole.items(), *adapter.layers.items()):
        there = base.shapes.get(layer, given)
        if there != given:
            raise ModelBroken(_misfit(adapter, base, layer, given, there))


def _misfit(adapter: Lora, base: Base, layer: str, given: Shape, there: Shape) -> str:
    why = ""
    if layer.endswith(_OF_THE_VOCABULARY) and given[1:] == there[1:]:
        why = f" 어휘(토큰 수)가 {given[0]:,}개와 {there[0]:,}개로 다릅니다."
    return (
        f"{_named(adapter)}는 {base.name} 모델에 맞지 않습니다: {layer} 층이 어댑터에서는 "
        f"{_times(given)}, 모델에서는 {_times(there)}입니다.{why} {_ADVICE}"
    )


def _named(adapter: Lora) -> str:
    made_for = f"({adapter.made_for}용)" if adapter.made_for else ""
    return f"{adapter.path} 어댑터{made_for}"


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _read_folder(folder: Path) -> Lora:
    if not folder.is_dir():
        raise ModelNotFound(f"어댑터의 폴더가 없습니다: {folder}. 경로를 확인해 주세요.")
    if not is_folder(folder):
        raise ModelBroken(f"{folder}에 {CONFIG} 파일이 없습니다. PEFT 어댑터 폴더가 아닙니다.")
    config = checkpoint.read_json(folder / CONFIG)
    _require_lora(folder, config)
    pairs: dict[str, dict[str, Shape]] = {}
    whole: dict[str, Shape] = {}
    for name, tensor in checkpoint.read_header(folder / WEIGHTS).items():
        if found := PEFT_NAME.fullmatch(name):
            side = found["side"] + (found["embedding"] or "")
            pairs.setdefault(language_name(found["layer"]), {})[side] = tensor.shape
        elif "lora_" not in name and (found := _WHOLE_NAME.fullmatch(name)):
            whole[language_name(found["layer"])] = tensor.shape
    layers = {layer: _shape(folder, layer, pair) for layer, pair in pairs.items()}
    if not layers:
        raise ModelBroken(f"{folder}의 어댑터에는 LoRA 가중치가 없습니다. 다시 저장해 주세요.")
    return Lora(folder, layers, whole, made_for=_made_for(folder, config))


def _require_lora(folder: Path, config: Mapping[str, Any]) -> None:
    if not (folder / WEIGHTS).is_file():
        raise ModelBroken(
            f"{folder}의 어댑터는 피클({PICKLE})입니다. 피클은 열기만 해도 코드가 "
            "실행될 수 있어 쓰지 않습니다. safetensors로 저장한 어댑터를 받아 주세요."
            if (folder / PICKLE).is_file()
            else f"{folder}에 {WEIGHTS} 파일이 없습니다. 마저 내려받아 주세요."
        )
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelBroken(f"{folder}은(는) LoRA가 아니라 {kind} 어댑터라 쓸 수 없습니다.")


def _shape(path: Path, layer: str, pair: Mapping[str, Shape]) -> Shape:
    """[out, in] of the matrix that B·A is added to; of an embedding, [vocabulary, width]."""
    a, b = pair.get("A"), pair.get("B")
    if a and b and len(a) == len(b) == 2 and a[0] == b[1]:
        return b[0], a[1]
    a, b = pair.get("Aembedding_"), pair.get("Bembedding_")
    if a and b and len(a) == len(b) == 2 and a[0] == b[1]:
        return a[1], b[0]
    raise ModelBroken(
        f"{path} 어댑터의 {layer} 층에 A와 B 가운데 하나가 없거나 둘의 랭크가 다릅니다. "
        "어댑터를 다시 저장해 주세요."
    )


def _read_gguf(file: Path) -> Lora:
    header = gguf_header.read(file)
    kind = header.metadata.get("adapter.type")
    if header.metadata.get("general.type") != "adapter" or kind != "lora":
        raise ModelBroken(f"{file} 파일은 GGUF LoRA 어댑터가 아닙니다. 어댑터의 파일을 주세요.")
    pairs: dict[str, dict[str, Shape]] = {}
    for name, shape in header.tensors.items():
        if found := _GGUF_NAME.fullmatch(name):
            pairs.setdefault(found["layer"], {})[found["side"].upper()] = shape
    if not pairs:
        raise ModelBroken(f"{file} 어댑터에는 LoRA 가중치가 없습니다. 다시 만들어 주세요.")
    layers = dict(_gguf_layers(file, pairs))
    kept = record.read(file)
    return Lora(file, layers, made_for=kept.base if kept else "", architecture=header.architecture)


def _gguf_layers(
    file: Path, pairs: Mapping[str, Mapping[str, Shape]]
) -> Iterator[tuple[str, Shape]]:
    for layer, pair in pairs.items():
        if layer == "token_embd" and {"A", "B"} <= set(pair):  # llama.cpp keeps this A transposed
            yield layer, (pair["A"][0], pair["B"][0])
        else:
            yield layer, _shape(file, layer, pair)


def _made_for(folder: Path, config: Mapping[str, Any]) -> str:
    base = config.get("base_model_name_or_path")
    return base if isinstance(base, str) else ""
