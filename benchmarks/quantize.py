"""Quantising: what 4 bit costs in Korean and English, and what our wrapping adds to GPTQModel.

The rival has the same settings and as much text, but English news, as most tools calibrate on by
default. Both are measured on texts that nobody wrote for this project. `--help` says how to run it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/…`

from benchmarks import public_texts
from benchmarks.harness import Machine, Row, arguments, report

from lightkorllm import evaluation, quantization
from lightkorllm.evaluation import Measured, Subject
from lightkorllm.quantization import QuantizeOptions

GB = 1e9

# GPTQModel as its own documentation uses it: load, quantise, save, in a process of its own.
PLAIN = """
import json, resource, sys, time
from pathlib import Path
import torch
from gptqmodel import GPTQModel, QuantizeConfig
job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
started = time.monotonic()
settings = QuantizeConfig(bits=4, group_size=job["group_size"], desc_act=False, sym=True,
                          damp_percent=job["damp_percent"], mse=job["mse"])
model = GPTQModel.load(job["model"], settings, device="cpu", dtype=getattr(torch, job["dtype"]))
rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in job["rows"]]
model.quantize(rows, batch_size=job["batch_size"], calibration_sort=None)
model.save(job["output"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print("\\nPLAIN", json.dumps({"seconds": time.monotonic() - started, "peak": peak}))
"""


def main() -> None:
    parser = arguments("What quantising costs, and what our wrapping adds.")
    parser.add_argument("model", type=Path, help="a plain checkpoint folder")
    parser.add_argument("--group_size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what is quantised there")
    told = parser.parse_args()
    machine = Machine.here()
    tokens = 512 if told.quick else 2048
    with tempfile.TemporaryDirectory() as scratch:
        work = told.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        ours = QuantizeOptions(
            str(told.model), work / "ours", group_size=told.group_size, samples=told.samples,
            report_tokens=0,
        )  # fmt: skip
        added = wrapping(ours, work)
        rows = [*quality(ours, work, tokens=tokens), *added]
    report(machine, rows, json_file=told.json)


def quality(ours: QuantizeOptions, work: Path, *, tokens: int) -> list[Row]:
    """Perplexity after ÷ before: as we do it, without tuning, and calibrated on English."""
    english = public_texts.write_english_calibration(work / "english.jsonl")
    runs = {
        "ours": ours,
        "ours untuned": replace(ours, quantized_model_dir=work / "untuned", tune_steps=0),
        "English": replace(
            ours, quantized_model_dir=work / "english", calibration=str(english)
        ),
        "English untuned": replace(
            ours, quantized_model_dir=work / "english-untuned", calibration=str(english),
            tune_steps=0,
        ),
    }  # fmt: skip
    original = evaluation.open_subject(Path(ours.pretrained_model_dir))
    texts = (*public_texts.korean(), *public_texts.english())
    measured = {name: _measured(original, run, texts, tokens) for name, run in runs.items()}
    rows = []
    for name, found in measured.items():
        for row in found:
            assert row.b is not None
            title = f"{name}: perplexity, {row.sample} ({row.language})"
            rows.append(Row.of(title, row.b.perplexity, row.a.perplexity))
    korean, rival = mean_ratio(measured["ours"], "ko"), mean_ratio(measured["English"], "ko")
    return [
        Row.below("Korean perplexity after ÷ before", korean, limit=1.20, unit="×"),
        Row.below(
            "English perplexity after ÷ before", mean_ratio(measured["ours"], "en"),
            limit=1.50, unit="×",
        ),
        Row("Korean loss against English calibration", korean - 1, rival - 1,
            (korean - 1) / (rival - 1), "ratio <= 0.35", (korean - 1) <= 0.35 * (rival - 1)),
        *rows,
    ]  # fmt: skip


def _measured(
    original: Subject, run: QuantizeOptions, texts: Sequence[evaluation.Sample], tokens: int
) -> tuple[Measured, ...]:
    assert run.quantized_model_dir is not None
    if not run.quantized_model_dir.exists():
        quantization.quantize(run)
    made = evaluation.open_subject(run.quantized_model_dir)
    return evaluation.compare(original, made, texts, tokens=tokens)


def mean_ratio(rows: Sequence[Measured], language: str) -> float:
    """Geometric mean of perplexity after ÷ before over the texts of a language."""
    logs = [math.log(row.ratio) for row in rows if row.language == language and row.ratio]
    return math.exp(sum(logs) / len(logs))


def wrapping(ours: QuantizeOptions, work: Path) -> list[Row]:
    """Time and memory beside a bare script with the same rows and settings."""
    options = replace(ours, quantized_model_dir=work / "untuned", tune_steps=0, overwrite=True)
    job = quantization.prepare(options)
    told = {
        "model": ours.pretrained_model_dir,
        "rows": job.calibration.rows,
        "output": str(work / "bare"),
        "dtype": job.dtype,
        **{
            name: getattr(ours, name)
            for name in ("group_size", "damp_percent", "mse", "batch_size")
        },
    }
    file = work / "bare.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    bare = _bare(file)
    started = time.monotonic()
    done = quantization.quantize(options)
    seconds = time.monotonic() - started
    memory = done.peak_memory / bare["peak"]
    return [
        Row("seconds, bare GPTQModel", seconds, bare["seconds"], seconds / bare["seconds"],
            "ratio < 1.05", seconds < 1.05 * bare["seconds"]),
        Row("peak memory of the worker, GB", done.peak_memory / GB, bare["peak"] / GB, memory,
            "ratio < 1.05", memory < 1.05),
    ]  # fmt: skip


def _bare(job: Path) -> dict[str, float]:
    from lightkorllm.quantization.running import environment

    ran = subprocess.run(
        [sys.executable, "-c", PLAIN, str(job)],
        capture_output=True, encoding="utf-8", check=True, env=environment(), cwd=job.parent,
    )  # fmt: skip
    line = next(line for line in ran.stdout.splitlines() if line.startswith("PLAIN"))
    found: dict[str, float] = json.loads(line.removeprefix("PLAIN"))
    return found


if __name__ == "__main__":
    main()
