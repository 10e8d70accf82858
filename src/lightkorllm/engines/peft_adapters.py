"""PEFT LoRA adapters over one loaded model: checked before they are loaded, switched by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightkorllm import checkpoint, lora, pretrained
from lightkorllm.checkpoint import language_name
from lightkorllm.errors import MissingPackage, ModelBroken


def load(model: Any, adapters: Mapping[str, Path], *, base: str) -> Callable[[str | None], None]:
    """Put adapters into `model`, and give the switch: a name, or None for the model as it was.

    `base` names the model in messages. Raises `ModelBroken` with names and shapes where an
    adapter was made for another model, or where not all of its weights found their place.
    """
    if not adapters:
        return _nothing_to_switch
    names = {name: f"adapter{number:03}" for number, name in enumerate(adapters)}
    folders = {names[name]: folder for name, folder in adapters.items()}
    return _Switch(attach(model, folders, base=base), names)


def attach(model: Any, adapters: Mapping[str, Path], *, base: str, exact: bool = False) -> Any:
    """PEFT's model with every adapter in it, by PEFT's names; raises as `load` does.

    `exact` keeps an adapter's numbers as they are where the model's own are narrower.
    """
    peft = _peft()
    fits = lora.Base(base, dict(_shapes(model)))
    for folder in adapters.values():
        lora.require_fit(lora.read(folder), fits)
    options = {
        "is_trainable": False,
        "autocast_adapter_dtype": exact,
        "device_map": {"": str(model.device)},  # else it may be moved to a card
    }
    (first, folder), *others = adapters.items()
    with pretrained.deprecations_of_others():
        # What it warns of is told below, as an error.
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
        found = peft.PeftModel.from_pretrained(model, folder, adapter_name=first, **options)
        for name, folder in others:
            found.load_adapter(folder, adapter_name=name, **options)
    for name, folder in adapters.items():
        _require_all_loaded(peft, found, name, folder)
    return found.eval()


class _Switch:
    """Remembers what is switched on, since switching walks through all layers.

    `names` are PEFT's for ours: it looks for its own inside of other names, and allows no dots.
    """

    def __init__(self, model: Any, names: Mapping[str, str]) -> None:
        tuner = model.base_model
        self._tuner = tuner
        self._names = names
        self._now: str | None = None
        tuner.disable_adapter_layers()

    def __call__(self, name: str | None) -> None:
        if name == self._now:
            return
        if name is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.enable_adapter_layers()
            self._tuner.set_adapter(self._names[name])
        self._now = name


def _nothing_to_switch(name: str | None) -> None:
    if name is not None:
        raise AssertionError(f"no adapter was loaded, but {name} was asked for")


def _shapes(model: Any) -> Mapping[str, tuple[int, int]]:
    """The shape [out, in] of each matrix; of an embedding, [vocabulary, width]."""
    shapes = {}
    for name, module in model.named_modules():
        outof = getattr(module, "out_features", getattr(module, "num_embeddings", None))
        into = getattr(module, "in_features", getattr(module, "embedding_dim", None))
        if outof is not None and into is not None:
            shapes[language_name(name)] = (outof, into)
    return shapes


def _require_all_loaded(peft: Any, model: Any, name: str, folder: Path) -> None:
    """PEFT passes over weights whose names it doesn't know, and makes up those it misses."""
    there = peft.get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    loaded = {key for key in there if "lora_" in key}
    stored = {key for key in checkpoint.read_header(folder / lora.WEIGHTS) if "lora_" in key}
    if strays := sorted(loaded ^ stored):
        raise ModelBroken(
            f"{folder} 어댑터의 가중치 {len(stored)}개 가운데 {len(stored & loaded)}개만 모델에서 "
            f"제자리를 찾았습니다(맞지 않는 이름: {strays[0]} …). 어댑터를 다시 저장해 주세요."
        )


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingPackage("LoRA 어댑터를 쓰는 peft가", extra="train") from None
    return peft
