"""A model in memory that is to be measured, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkorllm import checkpoint, pretrained
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelBroken


@dataclass(frozen=True, slots=True)
class Subject:
    """A model in memory with its tokenizer."""

    name: str
    model: Any
    tokenizer: Any


def open_subject(path: Path, *, device: str = "cpu", dtype: str = "float32") -> Subject:
    """A Hugging Face folder (plain or GPTQ) or a GGUF file, ready to be measured.

    Packed weights are unpacked, so that what is measured are the stored numbers and not a kernel.
    Raises `ModelNotFound` or `ModelBroken`.
    """
    if path.suffix == ".gguf":
        model, tokenizer = pretrained.load_gguf(path, device=device, dtype=dtype)
        return Subject(path.name, model, tokenizer)
    found = checkpoint.read(path)
    model = plain_model(found, device=device, dtype=dtype)
    return Subject(path.name, model, pretrained.load_tokenizer(found.folder))


def plain_model(found: Checkpoint, *, device: str, dtype: str) -> Any:
    """The model of a checkpoint with every layer plain, packed weights unpacked.

    Raises `ModelBroken`.
    """
    if found.gptq:
        return _unpacked(found, device=device, dtype=dtype)
    return pretrained.load_model(found, device=device, dtype=dtype)


def _unpacked(found: Checkpoint, *, device: str, dtype: str) -> Any:
    """A GPTQ checkpoint as a plain model that computes with the same numbers."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    with pretrained.plain_layout(found) as folder:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    kind = getattr(torch, dtype)
    state = {name: value.to(kind) for name, value in _plain_weights(found)}
    classes: Any = MODEL_FOR_CAUSAL_LM_MAPPING
    model, told = classes[type(config)].from_pretrained(
        None, config=config, state_dict=state, dtype=kind, output_loading_info=True
    )
    wrong = [*told["missing_keys"], *told["unexpected_keys"]]
    if wrong:
        raise ModelBroken(
            f"{found.folder}의 가중치가 모델 구조와 맞지 않습니다(예: {sorted(wrong)[0]})."
        )
    return model.to(device).eval()


def _plain_weights(found: Checkpoint) -> Any:
    """Name and tensor of every weight, packed layers unpacked one at a time."""
    import torch
    from safetensors import safe_open

    from lightkorllm.repacking import gptq

    packed = found.quantised_layers()
    for name in packed:
        yield f"{name}.weight", torch.from_numpy(gptq.layer(found, name).weights())
    parts = {
        f"{name}.{part}" for name in packed for part in ("qweight", "qzeros", "scales", "g_idx")
    }
    for file in found.weights:
        with safe_open(file, framework="pt") as data:
            for name in data.keys():  # noqa: SIM118
                if name not in parts:
                    yield name, data.get_tensor(name)
