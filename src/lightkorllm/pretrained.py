"""The door to transformers: a checkpoint folder becomes a tokenizer and a model in memory.

Weights come from safetensors only, and no code of a model's repository is ever run.
"""

from __future__ import annotations

import codecs
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightkorllm import embedded, gguf_header
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import MissingPackage, ModelBroken

log = logging.getLogger(__name__)

_WORTH_KEEPING = 3.0  # seconds that converting a tokenizer took
_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE", "TRANSFORMERS_CACHE")
_SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder, the fast one, with a pad token.

    `tokenizer.json` is taken as it stands: the class that a config names may rebuild it, and a
    Korean model's byte-level vocabulary under the name of `LlamaTokenizer` then gives junk.
    Where there is no pad token, another special one is used and EOS only as the last way out:
    padding must not change what the end of an answer is. Raises `ModelBroken`.
    """
    transformers = _transformers()
    try:
        with _without_marks(folder) as view:
            if (view / "tokenizer.json").is_file():
                tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
                    view, local_files_only=True
                )
            else:
                tokenizer = transformers.AutoTokenizer.from_pretrained(
                    view, trust_remote_code=False, local_files_only=True
                )
    except Exception as error:
        raise ModelBroken(f"{folder}의 토크나이저를 읽을 수 없습니다: {_brief(error)}") from error
    if not tokenizer.is_fast:
        raise ModelBroken(f"{folder}에 tokenizer.json이 없습니다. 다시 내려받아 주세요.")
    return _with_pad(tokenizer)


def _with_pad(tokenizer: Any) -> Any:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token or tokenizer.eos_token
    return tokenizer


def load_model(checkpoint: Checkpoint, *, device: str, dtype: str, backend: str = "auto") -> Any:
    """The model of a checkpoint, plain or GPTQ, in evaluation mode.

    `dtype` is torch's name (`float32`, `bfloat16`, `float16`); `backend` is GPTQModel's name of a
    kernel and means nothing for plain weights. Raises `ModelBroken` with the reason.
    """
    transformers = _transformers()
    import torch

    require_no_remote_code(checkpoint)
    try:
        with plain_layout(checkpoint) as folder, deprecations_of_others():
            config = transformers.AutoConfig.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
            if checkpoint.gptq:
                config.quantization_config = _gptq_config(checkpoint, backend)
            model, told = transformers.AutoModelForCausalLM.from_pretrained(
                folder, config=config, trust_remote_code=False, local_files_only=True,
                use_safetensors=True, dtype=getattr(torch, dtype), device_map={"": device},
                output_loading_info=True,
            )  # fmt: skip
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelBroken(f"{checkpoint.folder}을(를) 올릴 수 없습니다: {_brief(error)}") from error
    if missing := sorted(told["missing_keys"]):  # transformers would make numbers up
        raise ModelBroken(
            f"{checkpoint.folder}의 가중치 {len(missing)}개가 없습니다({missing[0]} …). "
            "모델을 다시 내려받아 주세요."
        )
    return model.eval()


@contextmanager
def deprecations_of_others() -> Iterator[None]:
    """Hide what transformers says to GPTQModel and PEFT about names that they still use."""
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=kind, module=r"transformers\.|torch\.")
        yield


def require_no_remote_code(checkpoint: Checkpoint) -> None:
    """Refuse a model that only the code in its own repository can run."""
    if "auto_map" not in checkpoint.config:
        return
    from transformers import CONFIG_MAPPING

    if checkpoint.model_type not in CONFIG_MAPPING:
        raise ModelBroken(
            f"{checkpoint.folder}은(는) 저장소에 든 코드를 실행해야 하는 모델"
            f"({checkpoint.model_type or '이름 없음'})입니다. 남의 코드는 실행하지 않습니다. "
            "transformers가 직접 지원하는 모델이나 GGUF를 써 주세요."
        )


@contextmanager
def plain_layout(checkpoint: Checkpoint) -> Iterator[Path]:
    """The checkpoint as a folder that transformers, vLLM and GPTQModel understand.

    Most are one already. AutoGPTQ-era ones (other weight names, settings in quantize_config.json)
    and those whose JSON begins with a byte order mark are shown through a temporary folder of
    links.
    """
    declared = checkpoint.config.get("quantization_config")
    usual = all(file.name.startswith("model") for file in checkpoint.weights)
    marked = _has_marks(checkpoint.folder)
    if usual and not marked and (checkpoint.gptq is None or declared):
        yield checkpoint.folder
        return
    with tempfile.TemporaryDirectory(prefix="lightkorllm-") as name:
        view = Path(name)
        _copy_small_files(checkpoint.folder, view)
        _link_weights(checkpoint, view)
        config = dict(checkpoint.config)
        if checkpoint.gptq:
            config["quantization_config"] = quantization_config(checkpoint)
        (view / "config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        yield view


@contextmanager
def _without_marks(folder: Path) -> Iterator[Path]:
    """The folder, or a copy of its small files where one begins with a byte order mark."""
    if not _has_marks(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="lightkorllm-") as view:
        _copy_small_files(folder, Path(view))
        yield Path(view)


def _has_marks(folder: Path) -> bool:
    """Whether an editor has put a mark before JSON, which the libraries then take for damage."""
    return any(_starts_with_mark(file) for file in folder.glob("*.json"))


def _starts_with_mark(file: Path) -> bool:
    with file.open("rb") as data:
        return data.read(3) == codecs.BOM_UTF8


def _copy_small_files(folder: Path, view: Path) -> None:
    for pattern in _SMALL_FILES:
        for file in folder.glob(pattern):
            shutil.copy(file, view / file.name)
            if file.suffix == ".json" and _starts_with_mark(file):
                (view / file.name).write_bytes(file.read_bytes().removeprefix(codecs.BOM_UTF8))


def quantization_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The GPTQ settings as config.json holds them."""
    gptq = checkpoint.gptq
    if gptq is None:
        raise AssertionError("only of a GPTQ checkpoint")
    return {
        "quant_method": "gptq",
        "bits": gptq.bits,
        "group_size": gptq.group_size,
        "sym": gptq.sym,
        "desc_act": gptq.desc_act,
        "checkpoint_format": "gptq_v2" if gptq.version == 2 else "gptq",
    }


def _link_weights(checkpoint: Checkpoint, view: Path) -> None:
    single = len(checkpoint.weights) == 1
    for file in checkpoint.weights:
        _link(file, view / ("model.safetensors" if single else file.name))


def _link(source: Path, target: Path) -> None:
    """A link of the kind that this system allows without rights; a copy as the last way."""
    for make in (os.symlink, os.link, shutil.copy):
        try:
            make(source.resolve(), target)
        except OSError:
            continue
        return


def import_gptqmodel() -> None:
    """Import GPTQModel, which PEFT does too, without its banner and its hold on our environment.

    It points the hub's cache to a folder of its own, which child processes would then download
    everything into anew. Raises `ImportError` without it.
    """
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # else its import fails on two cores
    from logbar import LogBar  # type: ignore[import-untyped, unused-ignore]

    LogBar.shared().setLevel("ERROR")  # it writes to standard output, a banner first
    before = {name: os.environ.get(name) for name in _CACHES}
    try:
        import gptqmodel  # noqa: F401
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _gptq_config(checkpoint: Checkpoint, backend: str) -> dict[str, Any]:
    try:
        import_gptqmodel()
        import optimum  # noqa: F401
    except ImportError:
        raise MissingPackage("GPTQModel이", extra="gptq") from None
    return {**quantization_config(checkpoint), "backend": backend}


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        raise MissingPackage("PyTorch와 transformers가", extra="gptq") from None
    return transformers


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def load_gguf(path: Path, *, device: str, dtype: str) -> tuple[Any, Any]:
    """Model and tokenizer of a GGUF file, its weights as stored, computed by transformers.

    Raises `ModelBroken` where transformers cannot read this architecture or kind of block.
    """
    transformers = _transformers()
    import torch

    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent,
            dtype=getattr(torch, dtype),
            device_map={"": device},
            quantization_config=transformers.GgufConfig(dequantize=True),
            **where,
        )
    except Exception as error:
        raise ModelBroken(f"{path}을(를) 읽을 수 없습니다: {_brief(error)}") from error
    return model.eval(), load_gguf_tokenizer(path)


@functools.lru_cache(maxsize=4)
def load_gguf_tokenizer(path: Path) -> Any:
    """The tokenizer of a GGUF file, remembered; one that took long to convert in the cache, too.

    Gemma's vocabulary takes 20 to 30 seconds, and three where it was kept. Raises `ModelBroken`
    where transformers cannot read it.
    """
    transformers = _transformers()
    kept = _kept_tokenizer(path)
    if (kept / "tokenizer.json").is_file():
        return load_tokenizer(kept)
    started = time.monotonic()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True
        )
    except Exception as error:
        raise ModelBroken(f"{path}을(를) 읽을 수 없습니다: {_brief(error)}") from error
    if time.monotonic() - started >= _WORTH_KEEPING:
        _keep(tokenizer, kept)
    return _with_pad(tokenizer)


def _kept_tokenizer(path: Path) -> Path:
    """Where the tokenizer in a GGUF file is kept: named after all that is said in its header."""
    state = hashlib.sha256(_transformers().__version__.encode())
    with path.open("rb") as file:
        state.update(file.read(gguf_header.read(path).data_start))
    return embedded.cache_folder() / "tokenizers" / state.hexdigest()[:16]


def _keep(tokenizer: Any, kept: Path) -> None:
    """Write beside and rename: another process may do the same. A cache that fails is no error."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as draft:
            tokenizer.save_pretrained(Path(draft) / "whole")
            (Path(draft) / "whole").rename(kept)
    except OSError as error:
        log.debug("the tokenizer is not kept: %s", error)
