"""The run from a job to a finished folder."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from lightkorllm import hub, memory, pretrained
from lightkorllm.errors import FinetuningFailed, MissingPackage, OptionError
from lightkorllm.finetuning import base as bases
from lightkorllm.finetuning import best, finishing, packing, plan, training
from lightkorllm.finetuning.job import Finetuned, Job
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.finetuning.preparing import prepare
from lightkorllm.progress import Step

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


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
        with _disk_advice(job):
            outcome = yield from training.train(model, job.learned.rows, held_out, settings)
    if outcome.stopped:
        raise FinetuningFailed(
            f"{outcome.last_step:,}단계에서 멈추고 저장했습니다. "
            "같은 명령으로 이어서 할 수 있습니다."
        )
    model.eval()
    if job.options.keep == "best":
        outcome.kept_step = best.put_back(model, settings.folder) or outcome.last_step
    training.require_finite(model)
    yield Step("finish", 0, 1, outcome.seconds, None)
    with _disk_advice(job):
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
    if not job.is_begun():
        shutil.rmtree(job.work, ignore_errors=True)
    try:
        job.settings.folder.mkdir(parents=True, exist_ok=True)
        job.note_begin()
    except OSError as error:
        problem = f"{job.work}에 쓸 수 없습니다({error.strerror}). 다른 곳을 주세요"
        raise OptionError("--train_output_dir", problem) from error


def _model(job: Job) -> tuple[Any, str]:
    """The base with a fresh adapter on it. Raises `MissingPackage` without PEFT."""
    with suppress(ImportError):  # plain bases do without
        pretrained.import_gptqmodel()
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
        with pretrained.deprecations_of_others():
            model.gradient_checkpointing_enable({"use_reentrant": False})
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
    wrapped.peft_config["default"].base_model_name_or_path = ""  # else PEFT looks it up online
    return wrapped, kernel


def _targets(model: Any, wanted: str) -> list[str]:
    """The layers that get an adapter, by the last part of their names.

    Raises `OptionError` for layers that the model has not.
    """
    there = _linear_layers(model)
    if wanted == "all":
        return there
    if wanted == "auto":
        return [name for name in _ATTENTION if name in there] or there
    asked = [name.strip() for name in wanted.split(",") if name.strip()]
    if missing := [name for name in asked if name not in there]:
        raise OptionError(
            "--target_modules",
            f"이 모델에는 {', '.join(missing)} 층이 없습니다 (있는 층: {', '.join(there)})",
        )
    return asked


def _linear_layers(model: Any) -> list[str]:
    """The linear layers of the decoder, packed ones too, without the output matrix."""
    import torch

    output = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if module is not output
            and (isinstance(module, torch.nn.Linear) or hasattr(module, "qweight"))
        }
    )


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


@contextmanager
def _disk_advice(job: Job) -> Iterator[None]:
    """A full disk becomes an error that says where: torch and safetensors have no word for it."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        free = memory.disk(job.work).free
        if free > plan.disk(job.load):
            raise
        raise FinetuningFailed(
            f"디스크가 가득 차서 멈추었습니다: {job.work}에 {memory.text(free)}만 남아 있습니다. "
            "자리를 비우고 같은 명령을 다시 하면 그때까지 저장한 단계에서 이어 갑니다."
        ) from error


def _out_of_memory(job: Job) -> FinetuningFailed:
    needed = plan.need(job.base, job.load)
    ways = [
        f"{words} 바꾸면 {memory.text(plan.need(job.base, milder).total)}"
        for words, milder in plan.milder(job.load)
    ]
    return FinetuningFailed(
        f"메모리가 모자라 멈추었습니다(예상은 {needed}). {', '.join(ways[:2])}쯤 듭니다. "
        "그때까지 저장한 단계는 남아 있습니다."
    )
