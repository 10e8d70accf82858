"""One fine-tuning from options to a finished adapter folder."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightkorllm import data, fingerprint, hardware, hub, memory, pretrained, prompts
from lightkorllm.data.dataset import Dataset
from lightkorllm.data.encode import Encoder, Encoding
from lightkorllm.errors import DataBroken, FinetuningFailed, MissingPackage, OptionError
from lightkorllm.finetuning import base as bases
from lightkorllm.finetuning import finishing, packing, plan, training
from lightkorllm.finetuning.base import Base, Kernel
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.finetuning.plan import Load
from lightkorllm.finetuning.training import Outcome, Settings, Step
from lightkorllm.prompts.base import PromptFormat
from lightkorllm.record import Record
from lightkorllm.vocabulary import Vocabulary

log = logging.getLogger(__name__)

_MOST_HELD_OUT = 200
_CAPACITY = {"cpu": 512}  # tokens at once beyond which a CPU gets no faster
_CARD_CAPACITY = 8192
_RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning that was checked and can start; everything in it is resolved."""

    options: FinetuneOptions
    base: Base
    tokenizer: Any
    prompt_format: PromptFormat
    learned: Encoding
    held_out: Encoding | None
    datasets: tuple[Dataset, ...]
    load: Load
    settings: Settings
    output: Path
    advice: tuple[str, ...] = ()

    @property
    def work(self) -> Path:
        """The scratch folder beside the output; it is gone once the output is there."""
        return self.output.with_name(self.output.name + ".partial")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what is learned: only a run of the same identity is gone on from."""
        told = asdict(self.options)
        for name in ("train_output_dir", "dry_run", "overwrite", "force", "upload_dir", "samples",
                     "save_steps", "report_to"):  # fmt: skip
            told.pop(name)
        rows = hashlib.sha256(repr(self.learned.rows).encode()).hexdigest()
        return {**told, "rows": rows, "base": fingerprint.fingerprint(self.base.path)}

    def lines(self) -> list[str]:
        """What will be done and needed, Korean, one fact a line."""
        learned, settings, free = self.learned, self.settings, memory.available(self.load_device)
        rows = len(learned.rows)
        held = len(self.held_out.rows) if self.held_out else 0
        need = plan.need(self.base, self.load)
        found = training.last_checkpoint(settings.folder) if self._is_same_run() else None
        resume = (
            f"끊긴 실행을 {int(found.name.rpartition('-')[2]):,}단계 뒤부터 이어 갑니다."
            if found
            else "도중에 끊기면 같은 명령으로 이어 갑니다."
        )
        return [
            f"바탕 모델: {self.base.name} ({self.base.model_type}) → {self.output}",
            f"데이터: {', '.join(dict.fromkeys(set_.source for set_ in self.datasets))}: 배울 행 "
            f"{rows:,}개(토큰 {learned.tokens:,}개, 그중 배우는 것 {learned.learned_tokens:,}개), "
            f"재기만 할 행 {held:,}개",
            *learned.lines(),
            f"프롬프트 형식: {self.prompt_format.name}, 장치: {settings.device}, 자료형: "
            f"{settings.dtype}, 최적화기: {settings.optimizer}",
            f"LoRA: 랭크 {self.options.lora_rank}, alpha {self.options.lora_alpha}, 층 "
            f"{self.options.target_modules}, 배우는 값 {self.load.adapter_parameters:,}개쯤",
            f"{settings.total:,}단계, 단계마다 {settings.rows_per_step}행"
            + (", 중간값 다시 계산" if self.load.checkpointing else ""),
            f"메모리: {need} 예상" + (f", 남은 것 {memory.text(free)}" if free else ""),
            *self.advice,
            resume,
        ]

    @property
    def load_device(self) -> str:
        return self.settings.device

    def _is_same_run(self) -> bool:
        try:
            told = json.loads((self.work / _RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(told == json.loads(json.dumps(self.identity, default=str)))


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The adapter's folder, its record, how training went, and further Korean lines to tell."""

    folder: Path
    record: Record
    outcome: Outcome
    notes: tuple[str, ...] = ()
    uploaded: str = ""


def prepare(options: FinetuneOptions) -> Job:
    """Read, check and reckon; nothing is written and no weight is loaded.

    Raises a `SetupError` with numbers and advice for what would fail later.
    """
    if not options.dataset_dir:
        raise OptionError("--dataset_dir", "배울 데이터의 파일이나 폴더, 데이터셋 이름을 주세요")
    output = _output(options)
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
    settings = _settings(options, learned, load, output, compute.device, compute.dtype)
    if not options.force:
        plan.require_space(base, load, free=memory.available(compute.device))
    advice = [compute.advice, *_about_optimizer(options, settings), *_about_end(base, vocabulary)]
    return Job(
        options, base, tokenizer, chosen, learned, held_out, datasets, load, settings, output,
        tuple(line for line in advice if line),
    )  # fmt: skip


def finetune(options: FinetuneOptions) -> Finetuned:
    """Fine-tune; the finished folder. Raises as `prepare` and `steps` do."""
    running = steps(prepare(options))
    while True:
        try:
            next(running)
        except StopIteration as end:
            done: Finetuned = end.value
            return done


def steps(job: Job) -> Generator[Step, None, Finetuned]:
    """Do the work, telling how far it is.

    Closing the generator, or an interrupt, stops behind the running step: what was learned so far
    is saved, and the same command goes on from there. The output folder appears at the very end,
    whole. Raises `FinetuningFailed` with what was kept and what to change.
    """
    _begin(job)
    yield Step("load", 0, 1, 0.0, None)
    with _memory_advice(job):
        model, kernel = _model(job)
        held_out = job.held_out.rows if job.held_out else ()
        settings = replace(
            job.settings, packed=packing.keeps_rows_apart(model, job.learned.rows[:8])
        )
        # A fresh adapter adds nothing, so that this is the base.
        before = training.held_out_loss(model, held_out, settings)
        outcome = yield from training.train(model, job.learned.rows, held_out, settings)
    if outcome.stopped:
        raise FinetuningFailed(
            f"{outcome.last_step:,}단계에서 멈추고 저장했습니다. "
            "같은 명령으로 이어서 할 수 있습니다."
        )
    model.eval()
    training.require_finite(model)
    yield Step("finish", 0, 1, outcome.seconds, None)
    done = finishing.finish(job, model, kernel, outcome, before)
    if outcome.diverged:
        raise FinetuningFailed(
            f"{outcome.diverged:,}단계에서 손실이 수가 아니게 되어 멈추었습니다. 그 앞까지 배운 "
            f"어댑터는 {job.output}에 있습니다. --learning_rate를 절반으로 줄이거나 --dtype "
            "float32로 다시 해 보세요."
        )
    uploaded = hub.upload(job.output, job.options.upload_dir) if job.options.upload_dir else ""
    return replace(done, uploaded=uploaded)


def _begin(job: Job) -> None:
    """Keep the state of the same run, and nothing of another."""
    same = job._is_same_run()
    if not same:
        shutil.rmtree(job.work, ignore_errors=True)
    job.settings.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(job.identity, ensure_ascii=False, indent=2, default=str)
    (job.work / _RUN).write_text(text + "\n", encoding="utf-8")


def _model(job: Job) -> tuple[Any, str]:
    """The base with a fresh adapter on it. Raises `MissingPackage` without PEFT."""
    with suppress(ImportError):  # plain bases do without
        pretrained.quieten_gptqmodel()
    try:
        import peft
    except ImportError:
        raise MissingPackage("LoRA를 배우는 peft가", extra="train") from None
    import torch

    options = job.options
    model, kernel = bases.load(
        job.base, device=job.settings.device, dtype=job.settings.dtype, kernel=job.load.kernel
    )
    torch.manual_seed(options.seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if job.load.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        bias=options.bias,
        use_rslora=options.rslora,
        target_modules=_targets(model, options.target_modules),
    )
    with pretrained.deprecations_of_others():
        wrapped = peft.get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = job.base.name
    return wrapped, kernel


def _targets(model: Any, wanted: str) -> list[str] | str:
    """PEFT's target modules. Raises `OptionError` for layers that the model has not."""
    if wanted == "all":
        return "all-linear"
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if wanted == "auto":
        found = [name for name in ("q_proj", "k_proj", "v_proj", "o_proj") if name in names]
        return found or "all-linear"
    asked = [name.strip() for name in wanted.split(",") if name.strip()]
    if missing := [name for name in asked if name not in names]:
        linear = sorted(name for name in names if name.endswith(("proj", "_fc", "dense")))
        raise OptionError(
            "--target_modules",
            f"이 모델에는 {', '.join(missing)} 층이 없습니다 (있는 층: {', '.join(linear)})",
        )
    return asked


@contextmanager
def _memory_advice(job: Job) -> Iterator[None]:
    """Running out of memory becomes an error that says what to change, in numbers."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(job) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(job) from error


def _out_of_memory(job: Job) -> FinetuningFailed:
    needed = plan.need(job.base, job.load)
    free = needed.total * 0.8
    words = next((words for words, _ in plan.fitting(job.base, job.load, int(free))), "")
    return FinetuningFailed(
        f"메모리가 모자라 멈추었습니다(예상 {needed}). {words or '--lora_rank나 모델을'} 줄여 "
        "보세요. 그때까지 저장한 단계는 남아 있습니다."
    )


def _output(options: FinetuneOptions) -> Path:
    output = options.train_output_dir.expanduser().absolute()
    if output.exists() and not options.overwrite and any(output.iterdir()):
        raise OptionError(
            "--train_output_dir",
            f"{output} 폴더가 이미 있습니다. 다른 이름을 주거나 --overwrite를 붙이세요",
        )
    return output


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
    kernel: Kernel = "plain"
    if base.is_gptq:
        on_card = device.startswith("cuda")
        kernel = "packed" if options.kernel == "packed" or (
            options.kernel == "auto" and on_card
        ) else "unpacked"  # fmt: skip
    every = options.target_modules not in ("auto",)
    densest = max(sum(row.learned) / len(row.ids) for row in learned.rows)
    load = Load(
        tokens=capacity,
        learned=round(capacity * densest),
        dtype=dtype,
        kernel=kernel,
        adapter_parameters=plan.adapter_parameters(
            base.shape, rank=options.lora_rank, every_layer=every
        ),
        checkpointing=options.gradient_checkpointing == "on",
    )
    free = memory.available(device)
    if options.kernel == "auto" and kernel == "unpacked" and not _fits(base, load, free):
        packed = replace(load, kernel="packed", dtype="float32")
        load = packed if _fits(base, packed, free) else load
    if options.gradient_checkpointing == "auto" and not _fits(base, load, free):
        load = replace(load, checkpointing=True)
    return load


def _fits(base: Base, load: Load, free: int | None) -> bool:
    return free is None or plan.need(base, load).total <= free * 0.9


def _capacity(options: FinetuneOptions, learned: Encoding, device: str) -> int:
    """Tokens that are computed at once: a batch of the longest rows, or what saturates a device."""
    longest = max(len(row.ids) for row in learned.rows)
    most = _CAPACITY.get(device, _CARD_CAPACITY)
    return max(longest, min(most, longest * options.train_batch_size))


def _settings(
    options: FinetuneOptions, learned: Encoding, load: Load, output: Path, device: str, dtype: str
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
        eval_steps=options.eval_steps or max(1, total // 5),
        seed=options.seed,
        device=device,
        dtype=load.dtype if load.kernel == "packed" else dtype,
        report_to=options.report_to,
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
