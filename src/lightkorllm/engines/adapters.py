"""The adapters that are to be served: their names, files and records, as the options have them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lightkorllm import embedded, hub, lora, record
from lightkorllm.errors import ModelNotFound, OptionError
from lightkorllm.fingerprint import fingerprint
from lightkorllm.generation import NO_ADAPTER
from lightkorllm.options import ModelOptions, split_adapter
from lightkorllm.record import Record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A PEFT folder or a GGUF file, and the record that lies with it."""

    path: Path
    record: Record | None = None

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix.lower() == ".gguf"

    def for_gguf(self) -> Path:
        """What serves a GGUF base: of a folder with one GGUF file in it, that file."""
        files = [] if self.is_gguf else list(self.path.glob("*.gguf"))
        return files[0] if len(files) == 1 else self.path


@dataclass(frozen=True, slots=True)
class Adapters:
    """Adapters by name. `default` is used where a request names none; None is the bare model."""

    named: Mapping[str, Adapter] = field(default_factory=dict)
    default: str | None = None


def wanted(options: ModelOptions) -> Adapters:
    """What `--peft_lora_dir` names; a path without a name is the default.

    Where it is not given, the embedded model has its own Korean adapter, and other models none.
    Raises a `SetupError` for a name that is taken or reserved and for what is no adapter.
    """
    texts = options.peft_lora_dir
    if texts == (NO_ADAPTER,):
        return Adapters()
    if not texts:
        shipped = embedded.adapter() if options.quantized_model_dir is None else None
        return _single(embedded.ADAPTER_NAME, shipped) if shipped else Adapters()
    found: dict[str, Adapter] = {}
    default = None
    for text in texts:
        name, path = _named(text)
        if name == NO_ADAPTER:
            raise OptionError(
                "--peft_lora_dir",
                f"{NO_ADAPTER}은(는) 어댑터를 쓰지 않는다는 뜻이라 혼자 주거나, 어댑터에 다른 "
                "이름을 붙여 주세요",
            )
        if name in found:
            raise OptionError("--peft_lora_dir", f"{name!r} 이름이 두 번 나왔습니다")
        found[name] = _at(name, Path(path).expanduser())
        if "=" not in text:
            default = name
    return Adapters(found, default)


def _named(text: str) -> tuple[str, str]:
    """As `split_adapter`, and a path in the hub's cache is named after the repository."""
    name, path = split_adapter(text)
    if "=" not in text and Path(path).parent.name == "snapshots":
        name = hub.name_of(Path(path))
    return name, path


def _single(name: str, folder: Path) -> Adapters:
    return Adapters({name: _at(name, folder)}, name)


def _at(name: str, path: Path) -> Adapter:
    """The adapter at a path: a PEFT folder, a GGUF file, or a folder with one GGUF file in it."""
    if path.suffix.lower() == ".gguf" and path.is_file():
        kept = record.read(path)
        beside = lora.is_folder(path.parent) and kept is None
        return Adapter(path, record.read(path.parent) if beside else kept)
    files = sorted(path.glob("*.gguf"))
    if path.is_dir() and not lora.is_folder(path) and len(files) == 1:
        return Adapter(files[0], record.read(files[0]) or record.read(path))
    if not path.exists():
        raise ModelNotFound(f"{name!r} 어댑터를 찾을 수 없습니다: {path}. 경로를 확인해 주세요.")
    lora.read(path)
    return Adapter(path, record.read(path))


def warn_of_other_bases(adapters: Adapters, model: Path) -> None:
    """Say where an adapter that fits was trained on another model than this one."""
    own = ""
    for name, adapter in adapters.named.items():
        trained_on = adapter.record.settings.get("base_fingerprint") if adapter.record else None
        if not trained_on:
            continue
        own = own or fingerprint(model)
        if trained_on != own:
            log.warning(
                "%r 어댑터는 이 모델(%s)이 아니라 다른 모델(%s)로 훈련한 것입니다. 모양은 맞으니 "
                "그대로 쓰지만, 답이 이상하면 그 모델을 --model로 주세요.",
                name, model.name, adapter.record.base if adapter.record else "",
            )  # fmt: skip
