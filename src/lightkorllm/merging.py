"""An adapter becomes part of its base: one plain model folder that needs nothing beside it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from lightkorllm import checkpoint, hub, lora, memory, record
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.errors import ModelBroken, NotEnough, OptionError
from lightkorllm.fingerprint import fingerprint
from lightkorllm.lora import Lora
from lightkorllm.record import Record

log = logging.getLogger(__name__)

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_TIED = ("embed_tokens", "lm_head")


@dataclass(frozen=True)
class MergeOptions:
    """LoRA 어댑터를 양자화하지 않은 바탕 모델에 합쳐 모델 폴더 하나로 만듭니다."""

    base_model_dir: Annotated[str, arg(aliases=["--model"], metavar="MODEL")] = ""
    """바탕 모델: 양자화하지 않은 Hugging Face 폴더 또는 저장소 이름."""

    peft_lora_dir: Annotated[str, arg(metavar="PEFT_LORA_DIR")] = ""
    """합칠 어댑터: PEFT 폴더 또는 저장소 이름."""

    output_dir: Annotated[Path | None, arg(metavar="OUTPUT_DIR")] = None
    """결과 폴더. 생략하면 지금 폴더에 모델이름-어댑터이름 꼴로 만듭니다."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """합친 가중치의 자료형. auto는 바탕 모델의 것을 따릅니다."""

    overwrite: bool = False
    """결과 폴더가 이미 있으면 새것으로 바꿉니다."""


@dataclass(frozen=True, slots=True)
class Job:
    """A merge that was checked and can start. `dtype` is resolved."""

    base: Checkpoint
    base_name: str
    adapter: Lora
    output: Path
    dtype: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The finished folder and its record."""

    folder: Path
    record: Record


def prepare(options: MergeOptions) -> Job:
    """Check all that can be checked by reading headers; nothing is written or loaded.

    Raises a `SetupError` that says what is wrong and what to do.
    """
    for option in ("base_model_dir", "peft_lora_dir"):
        if not getattr(options, option):
            raise OptionError(f"--{option}", "폴더나 저장소 이름을 주세요")
    folder = hub.resolve_model(options.base_model_dir)
    base = _plain(folder)
    name = hub.name_of(folder)
    adapter = lora.read(hub.resolve(options.peft_lora_dir))
    if adapter.path.suffix.lower() == ".gguf":
        raise OptionError("--peft_lora_dir", "GGUF가 아니라 PEFT 어댑터 폴더를 주세요")
    lora.require_fit(adapter, lora.base_of_checkpoint(base, name=name))
    _require_untied(adapter, base)
    output = options.output_dir or Path(f"{name}-{hub.name_of(adapter.path)}")
    job = Job(base, name, adapter, output.expanduser().absolute(), _dtype(options, base))
    _require_free(job, overwrite=options.overwrite)
    return job


def merge(options: MergeOptions) -> Merged:
    """Merge; the folder appears at the end, whole. Raises as `prepare` does."""
    return run(prepare(options))


def run(job: Job) -> Merged:
    """Do the work of a job that was checked."""
    from lightkorllm import pretrained
    from lightkorllm.engines import peft_adapters

    model = pretrained.load_model(job.base, device="cpu", dtype=job.dtype)
    wrapped = peft_adapters.attach(
        model, {"adapter": job.adapter.path}, base=job.base_name, exact=True
    )
    try:
        merged = wrapped.merge_and_unload(safe_merge=True)
    except ValueError as error:  # not a number
        raise ModelBroken(
            f"{job.adapter.path} 어댑터를 합치니 수가 아닌 값이 나옵니다({error}). 어댑터를 "
            "다시 훈련하거나 받아 주세요."
        ) from None
    with _whole(job) as draft:
        _save(merged, draft, job)
        written = _record(job)
        record.write(written, draft)
    return Merged(job.output, written)


def _plain(folder: Path) -> Checkpoint:
    is_gguf = folder.suffix.lower() == ".gguf"
    if folder.is_dir() and not checkpoint.is_checkpoint(folder):
        is_gguf = any(folder.glob("*.gguf"))
    found = None if is_gguf else checkpoint.read(folder)
    if found is None or found.gptq:
        kind = f"{found.gptq.bits}비트 GPTQ" if found and found.gptq else "GGUF"
        raise OptionError(
            "--base_model_dir",
            f"{folder}은(는) {kind} 모델이라 어댑터를 합칠 수 없습니다. 두 길이 있습니다: 합치지 "
            "않고 `lightkorllm serve --model 이_모델 --peft_lora_dir 어댑터`로 함께 쓰거나, "
            "양자화하지 않은 원본에 합친 뒤 `lightkorllm quantize`로 다시 양자화해 주세요",
        )
    return found


def _require_untied(adapter: Lora, base: Checkpoint) -> None:
    tied = base.text_config.get("tie_word_embeddings", base.config.get("tie_word_embeddings"))
    touched = [name for name in (*adapter.layers, *adapter.whole) if name.endswith(_TIED)]
    if touched and (tied or "lm_head.weight" not in base.tensors):
        raise ModelBroken(
            f"{adapter.path} 어댑터는 {touched[0]}을(를) 바꾸는데, 이 모델은 임베딩과 출력이 한 "
            "행렬이라 한쪽만 바꿀 수 없습니다. 합치지 않고 어댑터와 함께 서빙해 주세요."
        )


def _dtype(options: MergeOptions, base: Checkpoint) -> str:
    if options.dtype != "auto":
        return options.dtype
    sizes: dict[str, int] = {}
    for tensor in base.tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
    return _DTYPES.get(max(sizes, key=lambda dtype: sizes[dtype]), "bfloat16")


def _require_free(job: Job, *, overwrite: bool) -> None:
    output = job.output
    if output.resolve() in (job.base.folder.resolve(), job.adapter.path.resolve()):
        raise OptionError("--output_dir", "바탕 모델이나 어댑터의 폴더에는 쓸 수 없습니다")
    if output.exists() and not overwrite:
        raise OptionError(
            "--output_dir",
            f"{output} 폴더가 이미 있습니다. 다른 이름을 주거나 --overwrite를 붙이세요",
        )
    needed = job.base.parameters * _BYTES[job.dtype]
    disk, ram = memory.disk(output.parent), memory.ram()
    if disk.free < needed:
        raise NotEnough(
            f"디스크가 모자랍니다: 합친 모델에 {memory.text(needed)}가 필요한데 "
            f"{memory.text(disk.free)}가 남았습니다. 자리를 비우거나 다른 디스크에 만들어 주세요."
        )
    if ram and ram.free < needed:
        log.warning(
            "메모리가 모자랄 수 있습니다: %s가 필요한데 %s가 남았습니다.",
            memory.text(needed), memory.text(ram.free),
        )  # fmt: skip


@contextmanager
def _whole(job: Job) -> Iterator[Path]:
    """A folder beside the output that takes its place when the block ends well, or goes."""
    work = job.output.with_name(job.output.name + ".partial")
    draft = work / "model"
    shutil.rmtree(work, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        if job.output.exists():
            job.output.replace(work / "replaced")
        draft.replace(job.output)
    except OSError as error:
        raise ModelBroken(f"{job.output} 폴더를 쓰지 못했습니다 ({error.strerror}).") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _save(model: Any, folder: Path, job: Job) -> None:
    model.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # the library leaves it for our eyes only
    checkpoint.carry_over(job.base.folder, folder)


def _record(job: Job) -> Record:
    base, adapter = record.read(job.base.folder), record.read(job.adapter.path)
    told = adapter or Record()
    return Record(
        base=job.base_name,
        method="merged",
        prompt_format=told.prompt_format or (base.prompt_format if base else ""),
        data_fingerprint=told.data_fingerprint,
        settings={
            "adapter": hub.name_of(job.adapter.path),
            "base_fingerprint": fingerprint(job.base.folder),
            "dtype": job.dtype,
            "training": told.settings,
        },
        versions={name: version(name) for name in ("lightkorllm", "torch", "transformers", "peft")},
        scores=told.scores,
    )
