"""PEFT LoRA adapters over one loaded model: checked before they are loaded, switched by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightkorllm import checkpoint, pretrained
from lightkorllm.checkpoint import Tensor
from lightkorllm.errors import MissingPackage, ModelBroken, ModelNotFound

_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."


def is_adapter(path: Path) -> bool:
    """Whether a path is a folder that claims to hold a PEFT adapter."""
    return path.is_dir() and (path / _CONFIG).is_file()


def check(name: str, folder: Path) -> None:
    """Refuse what is no adapter folder, or holds it as a pickle. Nothing of it is loaded."""
    if not folder.is_dir():
        raise ModelNotFound(f"{name!r} 어댑터의 폴더가 없습니다: {folder}")
    if not is_adapter(folder):
        raise ModelBroken(f"{folder}에 {_CONFIG} 파일이 없습니다. PEFT 어댑터 폴더가 아닙니다.")
    if not (folder / _WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise ModelBroken(
            f"{folder}의 어댑터는 피클(adapter_model.bin)입니다. 피클은 열기만 해도 코드가 "
            "실행될 수 있어 쓰지 않습니다. safetensors로 저장한 어댑터를 받아 주세요."
            if pickled
            else f"{folder}에 {_WEIGHTS} 파일이 없습니다. 마저 내려받아 주세요."
        )
    kind = checkpoint.read_json(folder / _CONFIG).get("peft_type")
    if kind != "LORA":
        raise ModelBroken(f"{folder}은(는) LoRA가 아니라 {kind} 어댑터라 쓸 수 없습니다.")


def load(model: Any, adapters: Mapping[str, Path], *, base: str) -> Callable[[str | None], None]:
    """Put adapters into `model`, and give the switch: a name, or None for the model as it was.

    `base` names the model in messages. Raises `ModelBroken` with names and shapes where an
    adapter was made for another model.
    """
    if not adapters:
        return _nothing_to_switch
    for name, folder in adapters.items():
        check(name, folder)
        _require_fit(model, folder, base=base)
    with pretrained.deprecations_of_others():
        return _Switch(_wrapped(model, adapters).base_model)


def _wrapped(model: Any, adapters: Mapping[str, Path]) -> Any:
    peft = _peft()
    options = {"is_trainable": False, "autocast_adapter_dtype": False}
    (first, folder), *others = adapters.items()
    wrapped = peft.PeftModel.from_pretrained(model, folder, adapter_name=first, **options)
    for name, folder in others:
        wrapped.load_adapter(folder, adapter_name=name, **options)
    return wrapped.eval()


class _Switch:
    """Remembers what is switched on, since switching walks through all layers."""

    def __init__(self, tuner: Any) -> None:
        self._tuner = tuner
        self._now: str | None = None
        tuner.disable_adapter_layers()

    def __call__(self, name: str | None) -> None:
        if name == self._now:
            return
        if name is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.enable_adapter_layers()
            self._tuner.set_adapter(name)
        self._now = name


def _nothing_to_switch(name: str | None) -> None:
    if name is not None:
        raise AssertionError(f"no adapter was loaded, but {name} was asked for")


def _require_fit(model: Any, folder: Path, *, base: str) -> None:
    tensors = checkpoint.read_header(folder / _WEIGHTS)
    modules = dict(model.named_modules())
    pairs = list(_pairs(tensors))
    if not pairs:
        raise ModelBroken(f"{folder}의 어댑터에는 LoRA 가중치가 없습니다.")
    for layer, into, outof in pairs:
        module = modules.get(layer)
        wide = (getattr(module, "in_features", None), getattr(module, "out_features", None))
        if module is None or wide == (None, None):
            raise ModelBroken(
                f"{folder} 어댑터의 층 {layer}이(가) {base} 모델에는 없습니다"
                f"{_made_for(folder)}. 다른 모델의 어댑터입니다."
            )
        if wide != (into, outof):
            raise ModelBroken(
                f"{folder} 어댑터는 {base} 모델에 맞지 않습니다{_made_for(folder)}: {layer} 층이 "
                f"어댑터에서는 {into}×{outof}, 모델에서는 {wide[0]}×{wide[1]}입니다."
            )


def _pairs(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    """Each adapted layer's name in the model, its input and its output width."""
    for name, tensor in tensors.items():
        layer, found, _ = name.removeprefix(_PREFIX).partition(".lora_A.")
        other = tensors.get(name.replace(".lora_A.", ".lora_B."))
        if found and other is not None and len(tensor.shape) == len(other.shape) == 2:
            yield layer, tensor.shape[1], other.shape[0]


def _made_for(folder: Path) -> str:
    base = checkpoint.read_json(folder / _CONFIG).get("base_model_name_or_path")
    return f"({base}용)" if isinstance(base, str) and base else ""


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingPackage("LoRA 어댑터를 쓰는 peft가", extra="train") from None
    return peft
