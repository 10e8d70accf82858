"""Which engine runs a model: decided from what the model is."""

from __future__ import annotations

import re
from pathlib import Path

from lightkorllm import embedded
from lightkorllm.engines.base import Engine
from lightkorllm.errors import ModelNotFound, OptionError
from lightkorllm.options import ModelOptions, split_adapter


def open_engine(options: ModelOptions) -> Engine:
    """The running engine for `options.quantized_model_dir`; blocks until the model is loaded.

    Raises a `SetupError` that says what is wrong and what to do.
    """
    model = options.quantized_model_dir
    if model == "echo":
        from lightkorllm.engines.echo import EchoEngine

        return EchoEngine(slots=options.n_parallel, queue=options.max_queue)
    path = embedded.path() if model is None else Path(model).expanduser()
    return _open_llamacpp(options, _gguf_file(path), name=embedded.NAME if model is None else "")


def check(options: ModelOptions) -> None:
    """Refuse what can be seen to fail before anything is loaded."""
    device = options.device
    if device not in ("auto", "cpu", "cuda", "mps") and _gpu_number(device) is None:
        raise OptionError("--device", f"auto, cpu, cuda:0 꼴이어야 합니다 (받은 값: {device!r})")
    model = options.quantized_model_dir
    if model is not None and model != "echo":
        _gguf_file(Path(model).expanduser())
    _adapters(options)


def _gpu_number(device: str) -> int | None:
    name, _, number = device.partition(":")
    return int(number) if name == "cuda" and number.isdecimal() else None


def _gguf_file(path: Path) -> Path:
    """The GGUF file that `path` is, or the one that it holds."""
    if path.is_dir():
        return _only_gguf_in(path)
    if not path.is_file() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) and not path.suffix:
        raise ModelNotFound(
            f"{path} 폴더가 없습니다. Hugging Face 저장소 이름이라면, 그것을 바로 올리는 "
            "transformers 엔진은 아직 없습니다. GGUF 파일을 내려받아 그 경로를 주세요."
        )
    if not path.is_file():
        raise ModelNotFound(
            f"모델을 찾을 수 없습니다: {path}. .gguf 파일이나 그 폴더의 경로를 확인해 주세요."
        )
    if path.suffix.lower() != ".gguf":
        raise ModelNotFound(f"{path} 은 .gguf 파일이 아닙니다.")
    return path


def _only_gguf_in(folder: Path) -> Path:
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files)
        raise ModelNotFound(f"{folder} 폴더에 GGUF가 여럿입니다. 하나를 골라 주세요: {names}")
    raise ModelNotFound(
        f"{folder} 폴더에 .gguf 파일이 없습니다. "
        "Hugging Face 폴더를 바로 올리는 transformers 엔진은 아직 없습니다."
    )


def _adapters(options: ModelOptions) -> tuple[dict[str, Path], str | None]:
    """Adapters by name, and the one to use when a request names none: a path without a name."""
    adapters: dict[str, Path] = {}
    default = None
    for text in options.peft_lora_dir:
        name, path = split_adapter(text)
        if name in adapters:
            raise OptionError("--peft_lora_dir", f"{name!r} 이름이 두 번 나왔습니다")
        adapters[name] = _gguf_file(Path(path).expanduser())
        if "=" not in text:
            default = name
    return adapters, default


def _open_llamacpp(options: ModelOptions, path: Path, *, name: str) -> Engine:
    from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings

    adapters, default = _adapters(options)
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
            adapters=adapters,
            default_adapter=default,
        )
    )
