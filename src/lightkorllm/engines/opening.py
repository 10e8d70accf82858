"""Which engine runs a model: decided from what the model is, unless the user says so."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from lightkorllm import checkpoint, embedded, gguf_header, hub, lora
from lightkorllm.engines import adapters
from lightkorllm.engines.adapters import Adapter, Adapters
from lightkorllm.engines.base import Engine
from lightkorllm.errors import MissingPackage, ModelBroken, ModelNotFound, OptionError
from lightkorllm.options import ModelOptions, split_adapter

log = logging.getLogger(__name__)

OptionsT = TypeVar("OptionsT", bound=ModelOptions)

Runner = Literal["llamacpp", "transformers"]


def open_engine(options: ModelOptions) -> Engine:
    """The running engine for `options.quantized_model_dir`; blocks until the model is loaded.

    GGUF runs on llama.cpp. A checkpoint folder runs on transformers where there is a CUDA card or
    beams are wanted, and else on llama.cpp, repacked once without changing a weight.
    Raises a `SetupError` that says what is wrong and what to do.
    """
    model = options.quantized_model_dir
    if model == "echo":
        from lightkorllm.engines.echo import EchoEngine

        return EchoEngine(slots=options.n_parallel, queue=options.max_queue)
    options = located(options)
    check(options)
    if options.quantized_model_dir is None:
        path = embedded.path()
    else:
        path = _model_file(Path(options.quantized_model_dir).expanduser())
    adapters.warn_of_other_bases(adapters.wanted(options), path)
    if options.quantized_model_dir is None:
        return _open_llamacpp(options, path, name=embedded.NAME)
    if path.suffix.lower() == ".gguf":
        return _open_llamacpp(options, path)
    if _runner(options, path) == "transformers":
        return _open_transformers(options, path)
    return _open_repacked(options, path)


def located(options: OptionsT) -> OptionsT:
    """The same options with folders for the names of repositories, fetched where need be.

    Raises `ModelNotFound` where one can't be had.
    """
    model, texts = options.quantized_model_dir, []
    for text in options.peft_lora_dir:
        name, path = split_adapter(text)
        found = str(hub.resolve(path))
        texts.append(text if found == path else f"{name}={found}" if "=" in text else found)
    if model not in (None, "echo"):
        model = str(hub.resolve_model(str(model)))
    return replace(options, quantized_model_dir=model, peft_lora_dir=tuple(texts))


def _is_elsewhere(text: str) -> bool:
    """Whether a text names a repository, whose adapter can't be looked at before it is here."""
    return hub.is_name(text) and not Path(text).expanduser().exists()


def check(options: ModelOptions) -> None:
    """Refuse what can be seen to fail before anything is loaded or fetched."""
    device = options.device
    if device not in ("auto", "cpu", "cuda", "mps") and _gpu_number(device) is None:
        raise OptionError("--device", f"auto, cpu, cuda:0 꼴이어야 합니다 (받은 값: {device!r})")
    model = options.quantized_model_dir
    adapter_paths = [split_adapter(text)[1] for text in options.peft_lora_dir]
    if hub.repository(model or "") or any(_is_elsewhere(text) for text in adapter_paths):
        return
    path = None
    if model is not None and model != "echo":
        path = _model_file(hub.resolve_model(model))
    is_checkpoint = path is not None and path.suffix.lower() != ".gguf"
    if path is not None and is_checkpoint:
        _check_checkpoint(path)
    elif options.engine == "transformers":
        raise OptionError(
            "--engine", "GGUF 모델은 llama.cpp로만 돌립니다. transformers에는 원본 폴더를 주세요"
        )
    if model != "echo":
        _check_adapters(adapters.wanted(options), options, path)


def _check_checkpoint(path: Path) -> None:
    from lightkorllm import pretrained

    pretrained.require_no_remote_code(checkpoint.read(path))


def _check_adapters(served: Adapters, options: ModelOptions, path: Path | None) -> None:
    """Refuse adapters that can't be served over the model at `path`, None the embedded one."""
    own_name = _name(path) if path else embedded.NAME
    if own_name in served.named:
        raise OptionError(
            "--peft_lora_dir",
            f"{own_name!r}은(는) 모델의 이름이라 요청에서 가려 고를 수 없습니다. "
            f"다른이름={served.named[own_name].path} 꼴로 이름을 붙여 주세요",
        )
    for name, adapter in served.named.items():
        if adapter.is_gguf and (options.engine == "transformers" or _wants_beams(options)):
            raise OptionError(
                "--peft_lora_dir",
                f"{name!r}은(는) GGUF 어댑터라 transformers 엔진에서 쓸 수 없습니다. "
                "PEFT 어댑터 폴더를 주거나 --engine llamacpp로 시작해 주세요",
            )
        if path:
            _check_fit(adapter, path)


def _check_fit(adapter: Adapter, path: Path) -> None:
    """The same names are compared before anything is loaded; others once they are converted."""
    if path.suffix.lower() == ".gguf":
        file = adapter.for_gguf()
        if file.suffix.lower() == ".gguf":
            header = gguf_header.read(path)
            lora.require_fit(lora.read(file), lora.base_of_gguf(header, name=_name(path)))
    elif not adapter.is_gguf:
        base = lora.base_of_checkpoint(checkpoint.read(path), name=_name(path))
        lora.require_fit(lora.read(adapter.path), base)


def _name(path: Path) -> str:
    """What engines call the model at a path."""
    if path.is_dir():
        return hub.name_of(path)
    return path.stem if path.suffix.lower() == ".gguf" else hub.name_of(path.parent)


def _runner(options: ModelOptions, path: Path) -> Runner:
    """The engine for a checkpoint."""
    if options.engine != "auto":
        return options.engine
    if _wants_beams(options):
        return "transformers"
    if any(adapter.is_gguf for adapter in adapters.wanted(options).named.values()):
        return "llamacpp"
    if path.is_file():
        return "transformers"  # one of several weight files: repacking takes folders
    from lightkorllm import hardware

    on_card = options.device != "cpu" and hardware.has_cuda()
    return "transformers" if on_card else "llamacpp"


def _wants_beams(options: ModelOptions) -> bool:
    return int(getattr(options, "num_beams", 1)) > 1


def _gpu_number(device: str) -> int | None:
    name, _, number = device.partition(":")
    return int(number) if name == "cuda" and number.isdecimal() else None


def _model_file(path: Path) -> Path:
    """A GGUF file, a checkpoint's folder, or the one weight file of it that was chosen."""
    if _is_checkpoint(path):
        return path
    if path.suffix.lower() == ".safetensors" and (path.parent / "config.json").is_file():
        return path
    return _gguf_file(path)


def _is_checkpoint(path: Path) -> bool:
    """A folder with weights of its own, or without any GGUF that could be meant instead."""
    if not path.is_dir():
        return False
    if any(path.glob("*.safetensors")):
        return True
    return checkpoint.is_checkpoint(path) and not any(path.glob("*.gguf"))


def _gguf_file(path: Path) -> Path:
    """The GGUF file that `path` is, or the one that it holds."""
    if path.is_dir():
        return _only_gguf_in(path)
    if not path.is_file():
        raise ModelNotFound(
            f"모델을 찾을 수 없습니다: {path}. .gguf 파일이나 모델 폴더의 경로를 확인해 주세요."
        )
    if path.suffix.lower() != ".gguf":
        raise ModelNotFound(f"{path} 은 .gguf 파일도 모델 폴더도 아닙니다.")
    return path


def _only_gguf_in(folder: Path) -> Path:
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files)
        raise ModelNotFound(f"{folder} 폴더에 GGUF가 여럿입니다. 하나를 골라 주세요: {names}")
    raise ModelNotFound(
        f"{folder} 폴더에 모델이 없습니다. .gguf 파일이나, config.json과 "
        ".safetensors 가중치가 있는 폴더를 주세요."
    )


def _open_repacked(options: ModelOptions, folder: Path) -> Engine:
    """llama.cpp over the checkpoint rewritten as GGUF, or transformers where that can't be."""
    try:
        from lightkorllm import repacking

        gguf = repacking.cached(folder)
    except (ModelBroken, MissingPackage) as error:
        if options.engine == "llamacpp":
            raise
        log.warning("GGUF로 옮길 수 없어 transformers 엔진으로 돌립니다: %s", error.message)
        return _open_transformers(options, folder)
    return _open_llamacpp(options, gguf, name=hub.name_of(folder), base=folder)


def _as_gguf(adapter: Adapter, gguf: Path, base: Path | None, *, name: str) -> Path:
    """The adapter as a GGUF file that fits `gguf`; a PEFT folder is converted into the cache.

    `base` is the folder that the model was converted from; None where it always was a GGUF file.
    """
    file = adapter.path if base else adapter.for_gguf()
    if file.suffix.lower() != ".gguf":
        from lightkorllm import repacking

        file = repacking.cached_adapter(file, base=base or gguf)
    lora.require_fit(lora.read(file), lora.base_of_gguf(gguf_header.read(gguf), name=name))
    return file


def _open_llamacpp(
    options: ModelOptions, path: Path, *, name: str = "", base: Path | None = None
) -> Engine:
    from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings

    name = name or _name(path)
    served = adapters.wanted(options)
    files = {key: _as_gguf(each, path, base, name=name) for key, each in served.named.items()}
    return LlamaCppEngine(
        LlamaCppSettings(
            model=path,
            name=name,
            context_length=options.context_length,
            n_parallel=options.n_parallel,
            queue=options.max_queue,
            threads=options.threads,
            gpu_layers=0 if options.device == "cpu" else options.gpu_layers,
            needs_gpu=options.device not in ("auto", "cpu"),
            main_gpu=_gpu_number(options.device),
            kv_type=options.kv_type,
            adapters=files,
            default_adapter=served.default,
        )
    )


def _open_transformers(options: ModelOptions, path: Path) -> Engine:
    from lightkorllm.engines.transformers import TransformersEngine, TransformersSettings

    served = adapters.wanted(options)
    return TransformersEngine(
        TransformersSettings(
            model=path,
            device=options.device,
            context_length=options.context_length,
            n_parallel=options.n_parallel,
            queue=options.max_queue,
            threads=options.threads,
            adapters={name: each.path for name, each in served.named.items()},
            default_adapter=served.default,
        )
    )
