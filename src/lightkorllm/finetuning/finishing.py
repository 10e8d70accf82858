"""What was learned becomes a folder that explains itself: adapter, record, card, curve, answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from string import Template
from typing import Any

from lightkorllm import fingerprint, hub, plotting, record, repacking
from lightkorllm.errors import LightKorError
from lightkorllm.finetuning import samples, training
from lightkorllm.finetuning.job import Finetuned, Job
from lightkorllm.finetuning.training import Outcome, Point
from lightkorllm.record import Record

GGUF = "adapter.gguf"
CURVE = "loss.png"
ANSWERS = "samples.md"
_PACKAGES = ("lightkorllm", "torch", "transformers", "peft", "gptqmodel", "tokenizers")


def finish(job: Job, model: Any, kernel: str, outcome: Outcome, before: float | None) -> Finetuned:
    """Write the adapter's folder whole, then move it into place."""
    draft = job.work / "adapter"
    shutil.rmtree(draft, ignore_errors=True)
    _save(model, draft, base=job.base.name)
    written = _record(job, model, kernel, outcome, before)
    record.write(written, draft)
    _plot(outcome, before, draft / CURVE)
    _write_history(outcome, draft / "history.json")
    if job.options.samples:
        text = samples.table(job, model)
        (draft / ANSWERS).write_text(text, encoding="utf-8")
    (draft / "README.md").write_text(_card(job, written), encoding="utf-8")
    notes = (*_about_kept(outcome), *_as_gguf(job, draft))
    _move_into_place(draft, job)
    return Finetuned(job.output, written, outcome, notes)


def _save(model: Any, folder: Path, *, base: str) -> None:
    """The adapter in float16, half the size, under names and settings without local paths."""
    model.save_pretrained(folder, save_embedding_layers=False)
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    text = json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True)
    file.write_text(text + "\n", encoding="utf-8")
    for weights in folder.glob("*.safetensors"):
        _narrow(weights)
        weights.chmod(0o644)  # the library leaves it for our eyes only


def _narrow(weights: Path) -> None:
    """float16 holds an adapter's small numbers to a part in two thousand; where one is too large
    for it, all stay as they are."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
    if all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        save_file(tensors, weights, metadata={"format": "pt"})


def _record(job: Job, model: Any, kernel: str, outcome: Outcome, before: float | None) -> Record:
    options, settings = job.options, job.settings
    scores = {
        "training_loss": round(training.mean(outcome.points), 4),
        "learned_tokens": float(job.learned.learned_tokens),
        "seconds": round(outcome.seconds, 1),
        "learned_tokens_per_second": round(outcome.tokens_per_second, 2),
    }
    after = outcome.held_out_loss
    if before is not None and after is not None:
        scores |= {"held_out_loss_before": round(before, 4), "held_out_loss": round(after, 4)}
    return Record(
        base=job.base.name,
        method="lora",
        prompt_format=job.prompt_format.name,
        data_fingerprint=job.datasets[0].fingerprint,
        settings={
            "base_fingerprint": fingerprint.fingerprint(job.base.path),
            "modules": sorted(model.peft_config["default"].target_modules),
            "rank": options.lora_rank,
            "alpha": options.lora_alpha,
            "dropout": options.lora_dropout,
            "bias": options.bias,
            "rslora": options.rslora,
            "steps": outcome.last_step,
            "kept_step": outcome.kept_step or outcome.last_step,
            "rows_per_step": settings.rows_per_step,
            "max_length": options.max_length,
            "learning_rate": options.learning_rate,
            "warmup_steps": settings.warmup_steps,
            "schedule": settings.schedule,
            "optimizer": settings.optimizer,
            "train_on_prompt": options.train_on_prompt,
            "seed": options.seed,
            "rows": len(job.learned.rows),
            "held_out_rows": len(job.held_out.rows) if job.held_out else 0,
            "kernel": kernel,
            "packed": settings.packed,
        },
        versions=record.versions(_PACKAGES),
        scores=scores,
    )


def _about_kept(outcome: Outcome) -> tuple[str, ...]:
    if outcome.kept_step in (0, outcome.last_step):
        return ()
    return (
        f"떼어 둔 행의 손실이 가장 낮았던 {outcome.kept_step:,}단계의 어댑터를 남겼습니다. "
        "그 뒤로는 배운 행만 외웠으니, 더 배우게 하려면 데이터를 늘려 주세요.",
    )


def _as_gguf(job: Job, draft: Path) -> tuple[str, ...]:
    """The same adapter for llama.cpp, where its kind and the base allow; why not, otherwise."""
    try:
        repacking.adapter_to_gguf(draft, draft / GGUF, base=job.base.path, overwrite=True)
    except LightKorError as error:
        return (f"GGUF 어댑터는 만들지 못했습니다: {error.message}",)
    record.path_beside(draft / GGUF).unlink(missing_ok=True)  # the folder's own says the same
    return ()


def _plot(outcome: Outcome, before: float | None, path: Path) -> None:
    learned = [p for p in outcome.points if p.loss is not None]
    held = [p for p in outcome.points if p.held_out is not None]
    if before is not None:
        held = [Point(0, held_out=before), *held]
    with plotting.figure(path) as (axes, korean):
        axes.plot([p.step for p in learned], [p.loss for p in learned], color=plotting.GREY,
                  linewidth=1, label="배우는 행" if korean else "training")  # fmt: skip
        if held:
            axes.plot([p.step for p in held], [p.held_out for p in held], color=plotting.ORANGE,
                      marker="o", label="떼어 둔 행" if korean else "held out")  # fmt: skip
        if outcome.kept_step:
            axes.axvline(outcome.kept_step, color=plotting.BLUE, linewidth=0.8, linestyle=":")
        axes.set_title("학습 손실" if korean else "loss")
        axes.set_xlabel("단계" if korean else "step")
        axes.set_ylabel("토큰당 손실(nat)" if korean else "nats per learned token")
        axes.legend(frameon=False)


def _write_history(outcome: Outcome, path: Path) -> None:
    rows = [
        {"step": p.step, "loss": p.loss, "held_out_loss": p.held_out, "learning_rate": p.rate}
        for p in outcome.points
    ]
    lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in rows]
    path.write_text("[\n  " + ",\n  ".join(lines) + "\n]\n", encoding="utf-8")


def _card(job: Job, written: Record) -> str:
    template = Template((Path(__file__).parent / "adapter_card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=job.output.name,
        base=job.base.name,
        hub=f"base_model: {job.base.name}\n" if hub.is_name(job.base.name) else "",
        prompt_format=written.prompt_format,
        scores="\n".join(f"| {key} | {value:g} |" for key, value in written.scores.items()),
        settings="\n".join(f"| {key} | {value} |" for key, value in written.settings.items()),
    )


def _move_into_place(draft: Path, job: Job) -> None:
    """One rename: the output is whole or not there. The scratch folder goes last."""
    old = job.work / "replaced"
    if job.output.exists():
        job.output.replace(old)
    job.output.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(job.output)
    shutil.rmtree(job.work, ignore_errors=True)
