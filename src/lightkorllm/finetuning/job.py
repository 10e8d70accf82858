"""The nouns of a fine-tuning: the job that was checked, and what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightkorllm import fingerprint, memory
from lightkorllm.data.dataset import Dataset
from lightkorllm.data.encode import Encoder, Encoding
from lightkorllm.finetuning import plan, training
from lightkorllm.finetuning.base import Base
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.finetuning.plan import Load
from lightkorllm.finetuning.training import Outcome, Settings
from lightkorllm.prompts.base import PromptFormat
from lightkorllm.record import Record

_RUN = "run.json"
_NOT_LEARNED_FROM = (
    "train_output_dir", "dry_run", "overwrite", "force", "upload_dir", "samples", "save_steps",
    "report_to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning that was checked and can start; everything in it is resolved."""

    options: FinetuneOptions
    base: Base
    tokenizer: Any
    encoder: Encoder
    learned: Encoding
    held_out: Encoding | None
    datasets: tuple[Dataset, ...]
    load: Load
    settings: Settings
    output: Path
    advice: tuple[str, ...] = ()

    @property
    def prompt_format(self) -> PromptFormat:
        return self.encoder.prompt_format

    @property
    def work(self) -> Path:
        """The scratch folder beside the output; it is gone once the output is there."""
        return self.output.with_name(self.output.name + ".partial")

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what is learned: only a run of the same identity is gone on from."""
        told = asdict(self.options)
        for name in _NOT_LEARNED_FROM:
            told.pop(name)
        rows = hashlib.sha256(repr(self.learned.rows).encode()).hexdigest()
        return {**told, "rows": rows, "base": fingerprint.fingerprint(self.base.path)}

    def lines(self) -> list[str]:
        """What will be done and needed, Korean, one fact a line."""
        learned, settings = self.learned, self.settings
        free = memory.available(settings.device)
        rows = len(learned.rows)
        held = len(self.held_out.rows) if self.held_out else 0
        need = plan.need(self.base, self.load)
        saved = self.saved_step()
        resume = (
            f"끊긴 실행을 {saved:,}단계 뒤부터 이어 갑니다."
            if saved
            else "도중에 끊기면 같은 명령으로 이어 갑니다."
        )
        return [
            f"바탕 모델: {self.base.name} ({self.base.model_type}) → {self.output}",
            f"데이터: {', '.join(dict.fromkeys(set_.source for set_ in self.datasets))}: 배울 행 "
            f"{rows:,}개(토큰 {learned.tokens:,}개, 그중 배우는 것 {learned.learned_tokens:,}개), "
            f"재기만 할 행 {held:,}개",
            *(line for set_ in self.datasets for line in set_.fault_report),
            *learned.lines(),
            f"프롬프트 형식: {self.prompt_format.name}, 장치: {settings.device}, 자료형: "
            f"{settings.dtype}, 최적화기: {settings.optimizer}",
            f"LoRA: 랭크 {self.options.lora_rank}, alpha {self.options.lora_alpha}, 층 "
            f"{self.options.target_modules}, 배우는 값 {self.load.adapter_parameters:,}개쯤",
            f"{settings.total:,}단계, 단계마다 {settings.rows_per_step}행"
            + (", 중간값 다시 계산" if self.load.checkpointing else ""),
            f"메모리: {need} 예상" + (f", 남은 것 {memory.text(free)}" if free else ""),
            f"디스크: {memory.text(plan.disk(self.load))} 예상, 남은 것 "
            f"{memory.text(memory.disk(self.output.parent).free)}",
            *self.advice,
            resume,
        ]

    def is_begun(self) -> bool:
        """Whether the scratch folder holds the state of this very run."""
        try:
            told = json.loads((self.work / _RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(told == json.loads(json.dumps(self.identity, default=str)))

    def saved_step(self) -> int:
        """The step behind which this very run goes on; 0 is its beginning."""
        found = training.last_checkpoint(self.settings.folder) if self.is_begun() else None
        return training.step_of(found) if found else 0

    def note_begin(self) -> None:
        """Write down in the scratch folder which run this is."""
        text = json.dumps(self.identity, ensure_ascii=False, indent=2, default=str)
        (self.work / _RUN).write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Finetuned:
    """The adapter's folder, its record, how training went, and further Korean lines to tell."""

    folder: Path
    record: Record
    outcome: Outcome
    notes: tuple[str, ...] = ()
    uploaded: str = ""
