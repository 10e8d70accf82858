"""One quantisation from options to a finished folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightkorllm import (
    checkpoint,
    data,
    evaluation,
    hardware,
    hub,
    memory,
    pretrained,
    prompts,
    record,
)
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.data import corpus
from lightkorllm.errors import OptionError, QuantizationFailed
from lightkorllm.evaluation import report
from lightkorllm.evaluation.samples import held_out
from lightkorllm.progress import Step
from lightkorllm.prompts.base import PromptFormat
from lightkorllm.quantization import calibration, finishing, plan
from lightkorllm.quantization.calibration import Calibration, Share
from lightkorllm.quantization.options import QuantizeOptions
from lightkorllm.quantization.plan import Plan
from lightkorllm.quantization.running import LOG_NAME, Run, run
from lightkorllm.record import Record

_RESUMABLE = ("llama", "qwen3_moe")  # the model types whose state GPTQModel can keep
_SAME_TOKEN = 0.9
_MORE_TO_TUNE_ON = 2.0  # times the rows that GPTQ sees: tuning rarely sees a row twice then


@dataclass(frozen=True, slots=True)
class Job:
    """A quantisation that was checked and can start. `device` and `dtype` are resolved."""

    options: QuantizeOptions
    checkpoint: Checkpoint
    calibration: Calibration
    plan: Plan
    prompt_format: str
    device: str
    dtype: str
    output: Path

    @property
    def work(self) -> Path:
        """The scratch folder beside the output; it is gone once the output is there."""
        return self.output.with_name(self.output.name + ".partial")

    @property
    def resumable(self) -> bool:
        """Whether a run that was cut off goes on behind its last finished layer."""
        return self.checkpoint.model_type in _RESUMABLE

    def lines(self) -> list[str]:
        """What will be done and needed, Korean, one fact a line."""
        disk = memory.disk(self.output.parent)
        resume = (
            "도중에 끊기면 같은 명령으로 마지막으로 끝난 층 뒤부터 이어 갑니다."
            if self.resumable
            else f"도중에 끊기면 처음부터 다시 합니다: GPTQModel은 {self.checkpoint.model_type} "
            "모델의 중간 상태를 저장하지 못합니다."
        )
        return [
            f"모델: {self.checkpoint.folder} ({self.checkpoint.model_type}) → {self.output}",
            f"장치: {self.device}, 자료형: {self.dtype}, 프롬프트 형식: {self.prompt_format}",
            *self.plan.lines(self.calibration, ram=memory.ram(), disk=disk),
            resume,
        ]


@dataclass(frozen=True, slots=True)
class Quantised:
    """The finished folder, its quality report (None where none was wanted) and its record.

    `rounded` linear layers saw too little text and were only rounded. `peak_memory` is the
    worker's, in bytes; `uploaded` is an address.
    """

    folder: Path
    report: report.Report | None
    record: Record
    rounded: int = 0
    peak_memory: int = 0
    uploaded: str = ""


def prepare(options: QuantizeOptions) -> Job:
    """Read, check and reckon; nothing is written and no weight is loaded.

    Raises a `SetupError` with numbers and advice for what would fail later.
    """
    if not options.pretrained_model_dir:
        raise OptionError("--model", "양자화할 모델의 폴더나 저장소 이름을 주세요")
    found = checkpoint.read(hub.resolve_model(options.pretrained_model_dir))
    pretrained.require_no_remote_code(found)
    output = _output(options, found)
    tokenizer = pretrained.load_tokenizer(found.folder)
    compute = hardware.choose(
        options.device, gptq=False, model_type=found.model_type, dtype=options.dtype
    )
    device, dtype = compute.device, compute.dtype
    chosen = prompts.for_model(found.folder, tokenizer, name=options.prompt_format)
    texts = _calibration(options, tokenizer, chosen)
    reckoned = plan.make(options, found, texts, device=device, dtype=dtype)
    if not options.force and device == "cpu":
        plan.require_space(reckoned, output, ram=memory.ram(), disk=memory.disk(output.parent))
    return Job(options, found, texts, reckoned, chosen.name, device, dtype, output)


def quantize(options: QuantizeOptions) -> Quantised:
    """Quantise a model; the finished folder. Raises as `prepare` and `steps` do."""
    running = steps(prepare(options))
    while True:
        try:
            next(running)
        except StopIteration as end:
            done: Quantised = end.value
            return done


def steps(job: Job) -> Generator[Step, None, Quantised]:
    """Do the work, telling how far it is; closing the generator stops it.

    The output folder appears at the very end, whole. Raises `QuantizationFailed` with the reason
    and `UploadFailed` where only the upload went wrong.
    """
    with _scratch(job) as draft:
        told = yield from run(_worker_job(job, draft), job.work)
        finishing.tidy(draft, job.checkpoint)
        yield Step("report", 0, 1, told.seconds, None)
        made = _report(job, draft, told)
        written = _record(job, made, told)
        record.write(written, draft)
        _write_card(job, draft, made, written)
        _move_into_place(draft, job)
    uploaded = hub.upload(job.output, job.options.upload_dir) if job.options.upload_dir else ""
    return Quantised(job.output, made, written, told.rounded, told.peak_memory, uploaded)


@contextmanager
def _scratch(job: Job) -> Generator[Path, None, None]:
    """The folder to write to. It goes when the run ends, but for what a next run can go on from."""
    job.work.mkdir(parents=True, exist_ok=True)
    draft = job.work / "model"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
    except BaseException as error:
        broken = isinstance(error, QuantizationFailed)
        _clear(job.work, keep=(LOG_NAME,) if broken else ("resume",) if job.resumable else ())
        raise
    _clear(job.work, keep=())


def _clear(work: Path, *, keep: tuple[str, ...]) -> None:
    for inside in work.iterdir():
        if inside.name in keep:
            continue
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
    if not any(work.iterdir()):
        work.rmdir()


def _output(options: QuantizeOptions, found: Checkpoint) -> Path:
    wanted = options.quantized_model_dir
    if wanted is None:
        wanted = Path(f"{Path(options.pretrained_model_dir).name}-gptq-{options.bits}bit")
    output = wanted.expanduser().absolute()
    if output.resolve() == found.folder.resolve():
        raise OptionError("--quantized_model_dir", "원본 모델의 폴더에는 쓸 수 없습니다")
    if output.exists() and not options.overwrite:
        raise OptionError(
            "--quantized_model_dir",
            f"{output} 폴더가 이미 있습니다. 다른 이름을 주거나 --overwrite를 붙이세요",
        )
    return output


def _calibration(options: QuantizeOptions, tokenizer: Any, chosen: PromptFormat) -> Calibration:
    """The user's texts, or ours with English in its share."""
    if options.calibration:
        loaded = data.load(options.calibration)
        shares = [Share(loaded.items, options.samples)]
        fingerprint, source = loaded.fingerprint, options.calibration
    else:
        english = round(options.samples * options.english_share)
        shares = [
            Share(corpus.passages("calibration", language="ko"), options.samples - english),
            Share(corpus.passages("calibration", language="en"), english),
        ]
        fingerprint, source = "", "내장된 글"
    rows: list[tuple[int, ...]] = []
    further: list[tuple[int, ...]] = []
    skipped = 0
    for share in shares:
        more = replace(share, rows=round(share.rows * _MORE_TO_TUNE_ON))
        got, left_out = calibration.rows_of(
            more, tokenizer, chosen, length=options.sequence_length, seed=options.seed
        )
        rows += got[: share.rows]
        further += got[share.rows :]
        skipped += left_out
    if not rows:
        raise OptionError("--calibration", f"{source}에 보정에 쓸 글이 없습니다")
    digest = fingerprint or hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return Calibration(
        tuple(rows), options.samples, skipped, digest, source, further=tuple(further)
    )


def _worker_job(job: Job, draft: Path) -> dict[str, Any]:
    options = job.options
    settings = {
        "model": str(job.checkpoint.folder.resolve()),
        "rows": job.calibration.rows,
        "further": job.calibration.further,
        "batch_size": options.batch_size,
        "bits": options.bits,
        "group_size": options.group_size,
        "desc_act": options.desc_act,
        "sym": options.sym,
        "damp_percent": options.damp_percent,
        "mse": options.mse,
        "tune_steps": job.plan.tune_steps,
        "seed": options.seed,
        "device": job.device,
        "dtype": job.dtype,
    }
    # A store of another run's state is never gone on from: its name holds all that decides it.
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    resume = str(job.work / "resume" / name) if job.resumable else ""
    return {
        **settings,
        "output": str(draft),
        "offload": str(job.work / "offload"),
        "resume": resume,
    }


def _report(job: Job, draft: Path, told: Run) -> report.Report | None:
    """Measure, and refuse a model that says one token over and over where its original does not."""
    b = evaluation.open_subject(draft, device=job.device, dtype=job.dtype)
    measures = job.options.report_tokens > 0
    stuck = finishing.sameness(b) > _SAME_TOKEN
    if not measures and not stuck:
        return None
    a = evaluation.open_subject(job.checkpoint.folder, device=job.device, dtype=job.dtype)
    if stuck and finishing.sameness(a) <= _SAME_TOKEN:
        raise QuantizationFailed(
            "양자화한 모델이 한 토큰만 되풀이해서 버렸습니다. 보정 글을 늘리거나 "
            "--group_size를 줄여 다시 해 보세요."
        )
    if not measures:
        return None
    started = time.monotonic()
    rows = evaluation.compare(a, b, held_out(), tokens=job.options.report_tokens)
    facts = {
        "seconds": round(told.seconds, 1),
        "report_seconds": round(time.monotonic() - started, 1),
        "peak_memory_bytes": told.peak_memory,
        "original_bytes": job.checkpoint.size,
        "quantised_bytes": checkpoint.read(draft).size,
        "tuning": dict(told.tuned),
        "mean_loss": sum(told.losses.values()) / max(1, len(told.losses)),
    }
    made = report.Report(job.checkpoint.folder.name, job.output.name, rows, facts)
    report.write(made, draft)
    return made


def _record(job: Job, made: report.Report | None, told: Run) -> Record:
    options = {
        name: value
        for name, value in asdict(job.options).items()
        if name in ("bits", "group_size", "desc_act", "sym", "damp_percent", "mse", "samples",
                    "sequence_length", "english_share", "seed")
    }  # fmt: skip
    settings = {
        **options,
        "samples": len(job.calibration.rows),
        "tune_steps": job.plan.tune_steps if told.tuned else 0,
        "dtype": job.dtype,
    }
    if job.options.calibration:
        del settings["english_share"]
    scores = {"seconds": round(told.seconds, 1)}
    scores |= {f"divergence_{when}_tuning": round(kl, 4) for when, kl in told.tuned.items()}
    for row in made.rows if made else ():
        scores[f"perplexity_{row.language}"] = round(row.b.perplexity, 4) if row.b else 0.0
        scores[f"perplexity_ratio_{row.language}"] = round(row.ratio or 0.0, 4)
    return Record(
        base=_base_name(job),
        method="gptq",
        prompt_format=job.prompt_format,
        data_fingerprint=job.calibration.fingerprint,
        settings=settings,
        versions=record.versions(finishing.PACKAGES),
        scores=scores,
    )


def _base_name(job: Job) -> str:
    """The repository or the folder's own name: never a path of this machine."""
    return hub.repository(job.options.pretrained_model_dir) or job.checkpoint.folder.name


def _write_card(job: Job, draft: Path, made: report.Report | None, written: Record) -> None:
    text = finishing.card(
        job.output.name,
        base=written.base,
        settings=written.settings,
        table=made.table() if made else "",
        licence=str(job.checkpoint.config.get("license", "")),
    )
    (draft / "README.md").write_text(text, encoding="utf-8")


def _move_into_place(draft: Path, job: Job) -> None:
    """One rename: the output is whole or not there. What stood there goes only afterwards."""
    old = job.work / "replaced"
    if job.output.exists():
        job.output.replace(old)
    draft.replace(job.output)
