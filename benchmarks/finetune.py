"""Our fine-tuning loop, against a plain Trainer loop in the manner of the original's script.

Both learn the same rows with the same labels in the same order, on the same base with the same
adapter, optimiser, number type and threads. The original computes one row at a time, with logits
for every token; ours packs the rows of a step and makes logits where something is learned.
Each run is a process of its own, whose peak of memory is told beside what the planner expects.
`python benchmarks/finetune.py [--base FOLDER]`, the embedded model without.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as in serve.py

from benchmarks.harness import Machine, Row, arguments, report

from lightkorllm import finetuning
from lightkorllm.finetuning import FinetuneOptions, Job, plan, running, training

ROWS_PER_STEP = 8  # the original: 1 row, accumulated; the same number of rows a step on both sides


def main() -> None:
    command = _arguments()
    machine = Machine.here()
    rounds = 1 if command.quick else command.rounds
    told: dict[str, list[dict[str, float]]] = {"ours": [], "original": []}
    for number in range(rounds):
        for side in list(told)[:: 1 if number % 2 == 0 else -1]:
            told[side].append(_in_process(side, command))
            print(side, told[side][-1], flush=True)
    ours, peer = told["ours"], told["original"]

    def median(runs: list[dict[str, float]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    rows = [
        Row.at_least(
            "learned tokens/s", median(ours, "rate"), median(peer, "rate"), ratio=1.5
        ),
        Row.between("held-out loss after the same learned tokens (nats)",
                   median(ours, "loss"), median(peer, "loss"), low=0.98, high=1.02),
        Row.of("peak memory (MB)", median(ours, "memory"), median(peer, "memory")),
        Row.of("peak memory (MB), against what the planner expects",
               median(ours, "memory"), median(ours, "expected")),
    ]  # fmt: skip
    report(machine, rows, json_file=command.json)


def _arguments() -> argparse.Namespace:
    parser = arguments("fine-tuning against a plain Trainer loop")
    parser.add_argument("--base", metavar="FOLDER", default=None)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _in_process(side: str, command: argparse.Namespace) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(side, command.base, command.steps, theirs))
    process.start()
    theirs.close()
    told: dict[str, float] = json.loads(ours.recv())
    process.join()
    return told


def _run(side: str, base: str | None, steps: int, told: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job = finetuning.prepare(_options(base, steps, Path(folder) / "out"))
        job.settings.folder.mkdir(parents=True)
        model, _ = running._model(job)
        assert job.held_out is not None
        began = time.perf_counter()
        learned = _ours(job, model) if side == "ours" else _original(job, model)
        seconds = time.perf_counter() - began
        loss = training.held_out_loss(model, job.held_out.rows[:48], job.settings)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    expected = plan.need(job.base, job.load).total / 1024**2
    figures = {"rate": learned / seconds, "loss": loss, "memory": memory, "expected": expected}
    told.send(json.dumps(figures))


def _options(base: str | None, steps: int, output: Path) -> FinetuneOptions:
    return FinetuneOptions(
        base_model_dir=base,
        dataset_dir="builtin:pairs",
        held_out_dir="builtin:held_out",
        train_output_dir=output,
        lora_dropout=0.0,  # dropped numbers would differ between the two
        train_batch_size=ROWS_PER_STEP,
        gradient_accumulation_step=1,
        max_train_step=steps,
        save_steps=10 * steps,
        eval_steps=10 * steps,
        max_length=512,
        samples=0,
        device="cpu",
    )


def _ours(job: Job, model: Any) -> int:
    running_ = training.train(model, job.learned.rows, (), job.settings)
    while True:
        try:
            next(running_)
        except StopIteration as end:
            outcome: training.Outcome = end.value
            return outcome.learned_tokens


def _original(job: Job, model: Any) -> int:
    """transformers' Trainer as the original's script calls it, over the same rows and labels."""
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    settings = job.settings
    rows = [{"input_ids": list(row.ids), "labels": row.labels} for row in job.learned.rows]
    learned = 0

    class Counting(DataCollatorForSeq2Seq):  # type: ignore[misc, unused-ignore]
        def __call__(self, features: Any, return_tensors: Any = None) -> Any:
            nonlocal learned
            batch = super().__call__(features, return_tensors)  # type: ignore[no-untyped-call]
            learned += int((batch["labels"] != -100).sum())
            return batch

    Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(settings.folder),
            per_device_train_batch_size=1,
            gradient_accumulation_steps=settings.rows_per_step,
            max_steps=settings.total,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            lr_scheduler_type=settings.schedule,
            optim=settings.optimizer,
            seed=settings.seed,
            data_seed=settings.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=rows,
        data_collator=Counting(job.tokenizer, padding=True),
    ).train()
    return learned


if __name__ == "__main__":
    main()
