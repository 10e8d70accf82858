"""From options to a job: everything is read, checked and reckoned, and nothing is written."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lightkorllm import data, hardware, hub, memory, prompts
from lightkorllm.data.dataset import Dataset
from lightkorllm.data.encode import Encoder, Encoding
from lightkorllm.errors import DataBroken, OptionError
from lightkorllm.finetuning import base as bases
from lightkorllm.finetuning import plan, reporting, training
from lightkorllm.finetuning.base import Base, Kernel
from lightkorllm.finetuning.job import Job
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.finetuning.plan import Load
from lightkorllm.finetuning.training import Settings
from lightkorllm.vocabulary import Vocabulary

_MOST_HELD_OUT = 200
_FEW_STEPS = 20
_CAPACITY = {"cpu": 512}  # tokens at once beyond which a CPU gets no faster
_CARD_CAPACITY = 8192


def prepare(options: FinetuneOptions) -> Job:
    """Read, check and reckon; nothing is written and no weight is loaded.

    Raises a `SetupError` with numbers and advice for what would fail later.
    """
    if not options.dataset_dir:
        raise OptionError("--dataset_dir", "배울 데이터의 파일이나 폴더, 데이터셋 이름을 주세요")
    output = _output(options)
    if options.upload_dir:
        hub.check_name(options.upload_dir, option="--upload_dir")
    loaded = data.load(options.dataset_dir)
    base = bases.find(options.base_model_dir)
    compute = hardware.choose(
        options.device, gptq=False, model_type=base.model_type, dtype=options.dtype
    )
    tokenizer = bases.load_tokenizer(base)
    chosen = prompts.for_model(base.path, tokenizer, name=options.prompt_format)
    vocabulary = Vocabulary(tokenizer)
    encoder = Encoder(vocabulary, chosen, options.max_length, options.train_on_prompt)
    learned, held_out, datasets = _encoded(options, loaded, encoder)
    load = _load(options, base, learned, compute.device, compute.dtype)
    settings = _settings(options, learned, load, output, compute.device)
    settings = replace(settings, keep_freed=_has_plenty(base, load, compute.device))
    if not options.force:
        plan.require_space(base, load, free=memory.available(compute.device))
        plan.require_disk(load, output.parent, free=memory.disk(output.parent).free)
    advice = [
        compute.advice,
        *_about_steps(options, settings),
        *_about_optimizer(options, settings),
        *_about_end(base, vocabulary),
    ]
    job = Job(
        options, base, tokenizer, encoder, learned, held_out, datasets, load, settings, output,
        tuple(line for line in advice if line),
    )  # fmt: skip
    _require_no_other_run(job)
    return job


def _has_plenty(base: Base, load: Load, device: str) -> bool:
    """Whether main memory has room for twice what is needed."""
    free = memory.available(device)
    return device == "cpu" and free is not None and free > 2 * plan.need(base, load).total


def _output(options: FinetuneOptions) -> Path:
    """Where the adapter will lie: a place that can be written, and where nothing is lost."""
    output = options.train_output_dir.expanduser().absolute()
    if problem := _problem_with(output, options):
        raise OptionError("--train_output_dir", problem)
    return output


def _problem_with(output: Path, options: FinetuneOptions) -> str:
    if output.exists() and not output.is_dir():
        return f"{output}은(는) 폴더가 아니라 파일입니다. 다른 이름을 주세요"
    for path in (Path.cwd(), Path(options.dataset_dir), Path(options.base_model_dir or ".")):
        if path.expanduser().resolve().is_relative_to(output.resolve()):
            return f"{output} 폴더에는 쓸 수 없습니다: {path.resolve()}이(가) 있습니다"
    if output.exists() and not options.overwrite and any(output.iterdir()):
        return f"{output} 폴더가 이미 있습니다. 다른 이름을 주거나 --overwrite를 붙이세요"
    there = next(path for path in output.parents if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return f"{there}에는 쓸 수 없습니다. 다른 곳을 주세요"
    return ""


def _require_no_other_run(job: Job) -> None:
    """What another run has learned so far is not thrown away unasked."""
    found = training.last_checkpoint(job.settings.folder)
    if found and not job.options.overwrite and not job.is_begun():
        raise OptionError(
            "--train_output_dir",
            f"{job.work}에 설정이나 데이터가 다른, 끝나지 않은 실행이 있습니다. 그것을 이어 가려면 "
            "그때와 같은 명령을, 새로 배우려면 다른 이름을 주세요. 버리려면 --overwrite를 붙이세요",
        )


def _encoded(
    options: FinetuneOptions, loaded: Dataset, encoder: Encoder
) -> tuple[Encoding, Encoding | None, tuple[Dataset, ...]]:
    """What is learned, what is only measured, and where both come from."""
    everything = encoder.encode(loaded.items)
    if options.held_out_dir:
        apart = data.load(options.held_out_dir)
        return everything, encoder.encode(apart.items), (loaded, apart)
    items = sorted(set(everything.items))
    count = min(_MOST_HELD_OUT, round(len(items) * options.held_out_share))
    if options.held_out_share:
        count = max(count, 1)
    count = min(count, len(items) - 1)
    chosen = frozenset(random.Random(options.seed).sample(items, count))
    told = [_part(everything, chosen, inside=inside) for inside in (False, True)]
    return told[0], told[1] if told[1].rows else None, (loaded,)


def _part(encoding: Encoding, chosen: frozenset[int], *, inside: bool) -> Encoding:
    pairs = [
        (row, item)
        for row, item in zip(encoding.rows, encoding.items, strict=True)
        if (item in chosen) is inside
    ]
    return replace(
        encoding, rows=tuple(row for row, _ in pairs), items=tuple(item for _, item in pairs)
    )


def _load(options: FinetuneOptions, base: Base, learned: Encoding, device: str, dtype: str) -> Load:
    """The kernel, and checkpointing where it is needed to fit."""
    capacity = _capacity(options, learned, device)
    kernel = _kernel(options, base, device)
    every = options.target_modules not in ("auto",)
    densest = max(sum(row.learned) / len(row.ids) for row in learned.rows)
    load = Load(
        tokens=capacity,
        learned=round(capacity * densest),
        dtype=_packed_dtype(options, device, dtype) if kernel == "packed" else dtype,
        kernel=kernel,
        adapter_parameters=plan.adapter_parameters(
            base.shape, rank=options.lora_rank, every_layer=every
        ),
        checkpointing=options.gradient_checkpointing == "on",
    )
    free = memory.available(device)
    if options.kernel == "auto" and kernel == "unpacked" and not plan.fits(base, load, free):
        packed = replace(load, kernel="packed", dtype=_packed_dtype(options, device, dtype))
        load = packed if plan.fits(base, packed, free) else load
    if options.gradient_checkpointing == "auto" and not plan.fits(base, load, free):
        load = replace(load, checkpointing=True)
    return load


def _kernel(options: FinetuneOptions, base: Base, device: str) -> Kernel:
    """Packed weights stay packed on a card, whose memory is short; a CPU is far faster without."""
    if not base.is_gptq:
        return "plain"
    if options.kernel == "auto":
        return "packed" if device.startswith("cuda") else "unpacked"
    return options.kernel


def _packed_dtype(options: FinetuneOptions, device: str, dtype: str) -> str:
    """GPTQModel's kernels that can learn are several times slower in bfloat16 on a CPU."""
    return "float32" if device == "cpu" and options.dtype == "auto" else dtype


def _capacity(options: FinetuneOptions, learned: Encoding, device: str) -> int:
    """Tokens that are computed at once: a batch of the longest rows, or what saturates a device."""
    longest = max(len(row.ids) for row in learned.rows)
    most = _CAPACITY.get(device, _CARD_CAPACITY)
    return max(longest, min(most, longest * options.train_batch_size))


def _settings(
    options: FinetuneOptions, learned: Encoding, load: Load, output: Path, device: str
) -> Settings:
    rows_per_step = options.train_batch_size * options.gradient_accumulation_step
    per_epoch = -(-len(learned.rows) // rows_per_step)
    total = options.max_train_step or max(1, round(per_epoch * options.num_epochs))
    return Settings(
        folder=output.with_name(output.name + ".partial") / "checkpoints",
        total=total,
        rows_per_step=rows_per_step,
        capacity=load.tokens,
        learning_rate=options.learning_rate,
        warmup_steps=min(options.train_warmup_steps, total // 2),
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        optimizer=_optimizer(options, device),
        save_steps=options.save_steps or max(1, total // 20),
        eval_steps=options.eval_steps or max(1, total // 10),
        seed=options.seed,
        device=device,
        dtype=load.dtype,
        trackers=reporting.trackers(options.report_to),
        curves=output.parent / reporting.RUNS / output.name,
    )


def _has_bitsandbytes(device: str) -> bool:
    from importlib.util import find_spec

    return device.startswith("cuda") and find_spec("bitsandbytes") is not None


def _optimizer(options: FinetuneOptions, device: str) -> str:
    eight_bit = _has_bitsandbytes(device)
    if options.train_optimizer == "auto":
        return "paged_adamw_8bit" if eight_bit else "adamw_torch"
    if "bit" in options.train_optimizer and not eight_bit:
        return "adamw_torch"
    from transformers.training_args import OptimizerNames

    known = [name.value for name in OptimizerNames]
    if options.train_optimizer not in known:
        raise OptionError("--train_optimizer", f"{', '.join(known)} 중 하나여야 합니다")
    return options.train_optimizer


def _about_steps(options: FinetuneOptions, settings: Settings) -> Iterator[str]:
    if settings.total < _FEW_STEPS and not options.max_train_step:
        yield (
            f"배우는 단계가 {settings.total}개뿐이라 달라지는 것이 적습니다. --num_epochs를 "
            "늘리거나 --gradient_accumulation_step을 줄이면 단계가 늘어납니다."
        )


def _about_optimizer(options: FinetuneOptions, settings: Settings) -> Iterator[str]:
    if options.train_optimizer not in ("auto", settings.optimizer):
        yield (
            f"{options.train_optimizer}은(는) CUDA 카드와 bitsandbytes가 있어야 해서 "
            f"{settings.optimizer}를 씁니다."
        )


def _about_end(base: Base, vocabulary: Vocabulary) -> Iterator[str]:
    """A tokenizer whose end token is not the one that the base was trained with."""
    if vocabulary.eos_id is None:
        raise DataBroken(
            f"{base.name}의 토크나이저에 끝 토큰(EOS)이 없어 답을 끝맺는 법을 가르칠 수 없습니다. "
            "tokenizer_config.json에 eos_token을 적어 주세요."
        )
    if base.checkpoint is None:
        return
    told = base.checkpoint.text_config.get("eos_token_id")
    known = {number for number in (told if isinstance(told, list) else [told]) if number}
    if known and vocabulary.eos_id not in known:
        yield (
            f"경고: 토크나이저의 끝 토큰({vocabulary.eos!r}, {vocabulary.eos_id}번)이 모델의 것"
            f"({', '.join(map(str, sorted(known)))}번)과 다릅니다. 모델이 배우지 않은 토큰이면 "
            "답이 끝나지 않을 수 있으니, 원래 끝 토큰으로 되돌리거나 서빙할 때 stop 문자열을 "
            "주세요."
        )
