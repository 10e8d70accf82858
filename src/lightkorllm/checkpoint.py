"""A Hugging Face checkpoint folder read without loading it: config, tensor shapes, quantisation.

Only JSON and the headers of safetensors files are read, so that mistakes are told in a second.
Layout of those headers: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from lightkorllm.errors import ModelBroken, ModelNotFound

_BYTES = {
    "F64": 8, "I64": 8, "U64": 8,
    "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_CARRIED = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "chat_template*", "generation_config.json", "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
_LONGEST_HEADER = 100_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor on disk: `dtype` in safetensors' words, the file, and its bytes in that file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Gptq:
    """How the linear layers were quantised. `group_size` -1 is one group over a whole row.

    `version` 2 keeps zero points as they are; 1, the common one, keeps them minus one.
    """

    bits: int
    group_size: int
    sym: bool = True
    desc_act: bool = False
    version: int = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights as its headers describe it. `tensors` goes by tensor name."""

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    tensors: Mapping[str, Tensor]
    gptq: Gptq | None = None

    @property
    def text_config(self) -> Mapping[str, Any]:
        """The language model's own settings, also where a wrapper holds them one level down."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, Mapping) else self.config

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def size(self) -> int:
        """Bytes of all weights on disk."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Number of weights of a plain checkpoint, each counted once."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def context_length(self) -> int:
        """Tokens of context that the model was made for; 0 where the config does not say."""
        return int(self.text_config.get("max_position_embeddings") or 0)

    def quantised_layers(self) -> tuple[str, ...]:
        """Names of the linear layers that hold packed weights."""
        return tuple(
            name.removesuffix(".qweight") for name in self.tensors if name.endswith(".qweight")
        )

    def shape_of(self, layer: str) -> tuple[int, ...] | None:
        """[out, in] of a layer's matrix, quantised or not; None where there is no such layer."""
        packed = self.tensors.get(f"{layer}.qweight")
        if self.gptq and packed:
            words, rows = packed.shape
            return rows, words * 32 // self.gptq.bits
        plain = self.tensors.get(f"{layer}.weight")
        return plain.shape if plain else None


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a folder that claims to hold a Hugging Face model."""
    return path.is_dir() and (path / "config.json").is_file()


def read(path: Path) -> Checkpoint:
    """Read a folder, or one weight file in it where the folder holds several to choose from.

    Raises `ModelNotFound` where nothing is there and `ModelBroken` with the reason where what is
    there cannot be run: no config, pickled weights, a quantisation that is missing, contradicts
    itself or the tensors, or is known to be broken.
    """
    folder, chosen = (path.parent, path) if path.is_file() else (path, None)
    if not folder.is_dir():
        raise ModelNotFound(f"모델 폴더가 없습니다: {folder}")
    names = [file.name for file in folder.iterdir()]
    weights = (chosen,) if chosen else weight_files(folder, names)
    return from_headers(folder, {file: read_header(file) for file in weights})


def from_headers(folder: Path, headers: Mapping[Path, Mapping[str, Tensor]]) -> Checkpoint:
    """The checkpoint of a folder's JSON files and of its weight files' headers.

    The weights themselves may be elsewhere. Raises `ModelBroken` as `read` does.
    """
    config = _json_object(folder / "config.json")
    weights = tuple(headers)
    tensors = {name: tensor for file in weights for name, tensor in headers[file].items()}
    found = Checkpoint(folder, config, weights, tensors)
    gptq = _gptq(found, _declared_quantisation(folder, config))
    return Checkpoint(folder, config, weights, tensors, gptq)


def language_name(name: str) -> str:
    """A tensor's name as in a model that is nothing but a language model."""
    name = re.sub(r"^(model\.)?language_model\.(model\.)?", "model.", name)
    return name.replace("model.lm_head.", "lm_head.")


def carry_over(source: Path, target: Path) -> None:
    """Copy what belongs to a model beside its weights: tokenizer, template, defaults, licence."""
    for pattern in _CARRIED:
        for file in source.glob(pattern):
            if file.is_file():
                shutil.copy(file, target / file.name)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} where there is no file. Raises `ModelBroken`."""
    return _json_object(path) if path.is_file() else {}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ModelBroken(
            f"{path.parent} 폴더에 {path.name} 파일이 없습니다. 모델을 다시 내려받아 주세요."
        ) from None
    except (OSError, ValueError, RecursionError):
        raise ModelBroken(f"{path} 파일을 읽을 수 없습니다. 다시 내려받아 주세요.") from None
    if not isinstance(values, dict):
        raise ModelBroken(f"{path} 파일은 JSON 객체여야 합니다. 다시 내려받아 주세요.")
    return values


def _declared_quantisation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json and AutoGPTQ's quantize_config.json say together; {} where neither does."""
    inner = config.get("quantization_config") or {}
    beside = read_json(folder / "quantize_config.json")
    if not isinstance(inner, dict):
        raise ModelBroken(f"{folder / 'config.json'}의 quantization_config가 객체가 아닙니다.")
    for key in ("bits", "group_size", "sym", "desc_act"):
        if key in inner and key in beside and inner[key] != beside[key]:
            raise ModelBroken(
                f"{folder}의 양자화 설정 둘이 서로 다릅니다: {key}이(가) config.json에는 "
                f"{inner[key]}, quantize_config.json에는 {beside[key]}입니다. "
                "모델을 다시 내려받거나 틀린 쪽을 고쳐 주세요."
            )
    return {**beside, **inner}


def weight_files(folder: Path, names: Collection[str]) -> tuple[Path, ...]:
    """Which of these files hold the model of a folder whose JSON files are here.

    Raises `ModelBroken` where none does, or where it can't be told.
    """
    declared = _declared_quantisation(folder, _json_object(folder / "config.json"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _indexed(index, names)
    base = declared.get("model_file_base_name") or declared.get("model_basename")
    for name in ("model", base):
        if isinstance(name, str) and f"{Path(name).name}.safetensors" in names:
            return (folder / f"{Path(name).name}.safetensors",)
    candidates = sorted(name for name in names if name.endswith(".safetensors"))
    if len(candidates) == 1:
        return (folder / candidates[0],)
    if candidates:
        raise ModelBroken(
            f"{folder}에 가중치 파일이 여럿입니다: {', '.join(candidates)}. "
            f"쓸 파일을 `--model {folder / candidates[0]}`처럼 지정해 주세요."
        )
    raise _no_weights(folder, base, names)


def _no_weights(folder: Path, base: object, names: Collection[str]) -> ModelBroken:
    pickled = sorted(name for name in names if name.endswith(_PICKLES))
    if pickled:
        return ModelBroken(
            f"{folder}에는 피클 가중치({pickled[0]})만 있습니다. 피클은 열기만 해도 코드가 "
            "실행될 수 있어 쓰지 않습니다. safetensors 형식의 모델을 받아 주세요."
        )
    expected = f"{base or 'model'}.safetensors"
    files = ", ".join(sorted(names)[:10])
    return ModelBroken(f"{folder}에 가중치 파일({expected})이 없습니다. 있는 파일: {files}")


def _indexed(index: Path, names: Collection[str]) -> tuple[Path, ...]:
    weight_map = _json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelBroken(f"{index} 파일에 weight_map이 없습니다. 다시 내려받아 주세요.")
    files = sorted({str(name) for name in weight_map.values()})
    for name in files:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelBroken(f"{index}이(가) 가리키는 {name!r}은(는) 가중치 파일 이름이 아닙니다.")
        if name not in names:
            raise ModelBroken(f"{index.parent}에 {name} 파일이 없습니다. 마저 내려받아 주세요.")
    return tuple(index.parent / name for name in files)


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file by name. Raises `ModelBroken` for anything else."""
    try:
        with file.open("rb") as data:
            return parse_header(data, file, size=file.stat().st_size)
    except OSError as error:
        raise ModelNotFound(f"{file} 파일을 읽을 수 없습니다 ({error.strerror}).") from None


def parse_header(data: BinaryIO, file: Path, *, size: int) -> dict[str, Tensor]:
    """The tensors that the first bytes of a file of `size` bytes tell of. Raises `ModelBroken`."""
    try:
        (length,) = struct.unpack("<Q", data.read(8))
        end = size - 8 - length
        entries = json.loads(data.read(length if end >= 0 and length <= _LONGEST_HEADER else 0))
        entries.pop("__metadata__", None)
        return {name: _tensor(entry, file, 8 + length, end) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError, struct.error, RecursionError):
        raise ModelBroken(
            f"{file} 파일은 올바른 safetensors가 아닙니다. "
            "내려받다가 끊긴 파일이 아닌지 확인해 주세요."
        ) from None


def _tensor(entry: Mapping[str, Any], file: Path, base: int, end: int) -> Tensor:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    start, stop = entry["data_offsets"]
    if not all(type(number) is int for number in (*shape, start, stop)):
        raise TypeError("a size that is no whole number")
    if not 0 <= start <= stop <= end or min(shape, default=0) < 0:
        raise ValueError("tensor outside its file")
    if dtype in _BYTES and prod(shape) * _BYTES[dtype] != stop - start:
        raise ValueError("tensor size does not match its shape")
    return Tensor(str(dtype), shape, file, base + start, stop - start)


def _gptq(found: Checkpoint, declared: Mapping[str, Any]) -> Gptq | None:
    packed = found.quantised_layers()
    method = str(declared.get("quant_method", "gptq" if "bits" in declared else ""))
    if not packed and not method:
        return None
    if packed and not declared:
        raise ModelBroken(
            f"{found.folder}의 가중치는 양자화되어 있는데 그 설정이 없습니다. "
            "config.json의 quantization_config나 quantize_config.json이 있어야 합니다."
        )
    if method != "gptq":
        raise ModelBroken(
            f"{found.folder}은(는) {method} 방식으로 양자화되었습니다. 여기서는 GPTQ와 "
            "양자화하지 않은 모델, GGUF를 실행할 수 있습니다."
        )
    if not packed:
        raise ModelBroken(
            f"{found.folder}에는 GPTQ 설정이 있지만 양자화된 가중치(qweight)가 없습니다. "
            "모델을 다시 내려받아 주세요."
        )
    gptq = _settings(found.folder, declared)
    _require_sound(found, gptq, declared)
    return gptq


def _settings(folder: Path, declared: Mapping[str, Any]) -> Gptq:
    try:
        return Gptq(
            bits=int(declared["bits"]),
            group_size=int(declared.get("group_size", -1)),
            sym=bool(declared.get("sym", True)),
            desc_act=bool(declared.get("desc_act", False)),
            version=2
            if declared.get("checkpoint_format", declared.get("format")) == "gptq_v2"
            else 1,
        )
    except (KeyError, TypeError, ValueError):
        raise ModelBroken(
            f"{folder}의 양자화 설정에 bits나 group_size가 없거나 수가 아닙니다."
        ) from None


def _require_sound(found: Checkpoint, gptq: Gptq, declared: Mapping[str, Any]) -> None:
    """Refuse what is known to be broken, and settings that the tensors contradict."""
    maker = json.dumps(declared.get("meta", {}))
    if not gptq.sym and gptq.version == 1 and "gptqmodel" not in maker:
        raise ModelBroken(
            f"{found.folder}은(는) AutoGPTQ가 비대칭(sym=false)으로 만든 옛 형식이라 영점이 넘쳐 "
            "망가져 있습니다. 원본 모델을 `lightkorllm quantize`로 다시 양자화해 주세요."
        )
    if gptq.bits not in (2, 3, 4, 8):
        raise ModelBroken(
            f"{found.folder}의 bits가 {gptq.bits}입니다. 2, 3, 4, 8만 있을 수 있습니다."
        )
    for layer in found.quantised_layers():
        _require_shapes(found, layer, gptq)


def _require_shapes(found: Checkpoint, layer: str, gptq: Gptq) -> None:
    scales = found.tensors.get(f"{layer}.scales")
    if scales is None:
        raise ModelBroken(f"{found.folder}의 {layer} 층에 scales가 없습니다. 다시 내려받아 주세요.")
    width = found.tensors[f"{layer}.qweight"].shape[0] * 32 // gptq.bits
    group = width if gptq.group_size < 1 else gptq.group_size
    groups = -(-width // group)
    if scales.shape[0] != groups:
        stored = width // max(1, scales.shape[0])
        raise ModelBroken(
            f"{found.folder}의 설정은 {gptq.bits}비트, group_size {gptq.group_size}인데 "
            f"{layer} 층의 가중치는 그렇지 않습니다(묶음 {groups}개가 있어야 하는데 "
            f"{scales.shape[0]}개, 곧 group_size {stored}). "
            "설정 파일과 가중치가 같은 모델의 것인지 확인해 주세요."
        )
