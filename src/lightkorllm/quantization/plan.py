"""What a run will need and where it would fail, worked out from headers before it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from lightkorllm import memory
from lightkorllm.checkpoint import Checkpoint, Tensor
from lightkorllm.errors import ModelBroken, NotEnough, OptionError
from lightkorllm.memory import Space
from lightkorllm.quantization.calibration import Calibration
from lightkorllm.quantization.options import QuantizeOptions

_LAYER = re.compile(r"\.(layers|h|blocks)\.\d+\.")
_GROUPS = (16, 32, 64, 128, 256, 512, 1024)
_LIBRARIES = 700 * 1024**2  # bytes that Python, torch and GPTQModel take up by themselves
_STEPS = 48
_ROWS_TO_TUNE = 16  # fewer say too little about a language to learn from
_TOO_SLOW = 1_500_000_000  # weights of a model whose tuning on a CPU would take hours
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of a run: bytes of memory and disk it needs, and what the user should know.

    `tune_steps` is as resolved; `memory` holds for quantising and tuning, the larger of the two.
    """

    layers: int
    quantised: int
    kept: int
    memory: int
    disk: int
    output: int
    tune_steps: int
    notes: tuple[str, ...]

    def lines(self, calibration: Calibration, *, ram: Space | None, disk: Space) -> list[str]:
        """The plan for people, Korean, one fact a line."""
        return [
            f"양자화할 가중치: {self.quantised / 1e6:,.0f}M개 ({self.layers}개 선형층), "
            f"그대로 두는 가중치: {self.kept / 1e6:,.0f}M개",
            f"보정: {len(calibration.rows)}토막, {calibration.tokens:,}토큰 ({calibration.source})",
            f"배율 다듬기: {self.tune_steps}단계" if self.tune_steps else "배율 다듬기: 하지 않음",
            f"메모리: 약 {memory.text(self.memory)} 필요"
            + (f", {memory.text(ram.free)} 남음" if ram else ""),
            f"디스크: 약 {memory.text(self.disk)} 필요, {memory.text(disk.free)} 남음",
            f"결과: 약 {memory.text(self.output)}",
            *(f"참고: {note}" for note in self.notes),
        ]


def linear_layers(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """The weights that GPTQ packs: matrices inside the decoder's layers, by tensor name."""
    return {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if len(tensor.shape) == 2 and name.endswith(".weight") and _LAYER.search(name)
    }


def make(
    options: QuantizeOptions,
    checkpoint: Checkpoint,
    calibration: Calibration,
    *,
    device: str,
    dtype: str,
) -> Plan:
    """Check a run and work out its numbers.

    Raises `ModelBroken` for a model that can't be quantised and `OptionError` for a group size
    that divides no layer, each with what to do.
    """
    if checkpoint.gptq:
        raise ModelBroken(
            f"{checkpoint.folder}은(는) 이미 {checkpoint.gptq.bits}비트로 양자화되어 있습니다. "
            "양자화하기 전의 원본 모델을 주세요."
        )
    linears = linear_layers(checkpoint)
    if not linears:
        raise ModelBroken(
            f"{checkpoint.folder}에서 양자화할 선형층을 찾지 못했습니다. 디코더 층을 가진 언어 "
            "모델(LLaMA 계열 등)이어야 합니다."
        )
    require_group_size(options.group_size, linears)
    quantised = sum(prod(tensor.shape) for tensor in linears.values())
    kept = checkpoint.parameters - quantised
    width = _DTYPE_BYTES[dtype]
    needed = _memory(options, checkpoint, calibration, bytes_each=width)
    steps, why = _tune_steps(options, checkpoint, calibration, device=device, width=width)
    group = options.group_size if options.group_size > 0 else 4096
    output = int(quantised * (options.bits / 8 + 2.5 / group) + kept * 2)
    return Plan(
        layers=len(linears),
        quantised=quantised,
        kept=kept,
        memory=max(needed, _tuning_memory(checkpoint, calibration, width) if steps else 0),
        tune_steps=steps,
        disk=output + checkpoint.parameters * width,
        output=output,
        notes=(*_notes(options, checkpoint, calibration, linears), *why),
    )


def require_group_size(group_size: int, linears: Mapping[str, Tensor]) -> None:
    """Refuse a group size that leaves a ragged group: kernels read such layers wrongly."""
    if group_size == -1:
        return
    ragged = {name: t.shape[1] for name, t in linears.items() if t.shape[1] % group_size}
    if not ragged:
        return
    fitting = [str(g) for g in _GROUPS if not any(t.shape[1] % g for t in linears.values())]
    name, width = next(iter(ragged.items()))
    raise OptionError(
        "--group_size",
        f"{group_size}은(는) 선형층 {len(linears)}개 가운데 {len(ragged)}개의 입력 너비를 나누지 "
        f"못합니다(예: {name} 너비 {width}). 이 모델에 맞는 값: {', '.join([*fitting, '-1'])}",
    )


def require_space(plan: Plan, output: Path, *, ram: Space | None, disk: Space) -> None:
    """Raise `NotEnough` with both numbers where memory or disk won't do."""
    if ram and plan.memory > ram.free:
        raise NotEnough(
            f"메모리가 모자랍니다: 약 {memory.text(plan.memory)}가 필요한데 "
            f"{memory.text(ram.free)}만 남아 있습니다. --samples나 --sequence_length를 줄이거나 "
            "다른 프로그램을 닫아 주세요. 그래도 해 보려면 --force를 붙이세요."
        )
    if plan.disk > disk.free:
        raise NotEnough(
            f"디스크가 모자랍니다: {output.parent}에 약 {memory.text(plan.disk)}가 필요한데 "
            f"{memory.text(disk.free)}만 남아 있습니다. 공간을 비우거나 "
            "--quantized_model_dir로 다른 디스크를 골라 주세요. 그래도 하려면 --force를 붙이세요."
        )


def _memory(
    options: QuantizeOptions, checkpoint: Checkpoint, calibration: Calibration, *, bytes_each: int
) -> int:
    """Peak bytes: the weights, every row's hidden states before and after a layer, one layer's
    Hessians with their working copies, and the widest activations of one batch."""
    linears = linear_layers(checkpoint).values()
    hidden = int(checkpoint.text_config.get("hidden_size") or min(t.shape[1] for t in linears))
    widest = max(max(t.shape) for t in linears)
    batch = options.batch_size * options.sequence_length
    return int(
        _LIBRARIES
        + checkpoint.parameters * bytes_each
        + 2 * calibration.tokens * hidden * bytes_each
        + 4 * widest * widest * 4
        + 6 * batch * widest * bytes_each
    )


def _tune_steps(
    options: QuantizeOptions,
    checkpoint: Checkpoint,
    calibration: Calibration,
    *,
    device: str,
    width: int,
) -> tuple[int, tuple[str, ...]]:
    """How many steps to tune, and why not where the user left it open and it won't do."""
    if options.tune_steps is not None:
        return options.tune_steps, ()
    if len(calibration.rows) < _ROWS_TO_TUNE:
        return 0, ()
    if device == "cpu" and checkpoint.parameters > _TOO_SLOW:
        return 0, (
            "CPU에서는 너무 오래 걸려 배율을 다듬지 않습니다. --tune_steps로 시킬 수 있습니다.",
        )
    free = memory.available(device)
    if free is not None and _tuning_memory(checkpoint, calibration, width) > free:
        return 0, ("메모리가 모자라 배율을 다듬지 않습니다. --tune_steps로 시킬 수 있습니다.",)
    return _STEPS, ()


def _tuning_memory(checkpoint: Checkpoint, calibration: Calibration, width: int) -> int:
    """Peak bytes of tuning: the original, its copy in the making, and what a step computes."""
    text = checkpoint.text_config
    hidden = int(text.get("hidden_size") or 1024)
    layers = int(text.get("num_hidden_layers") or 1)
    vocabulary = int(text.get("vocab_size") or 0)
    widest = max(max(tensor.shape) for tensor in linear_layers(checkpoint).values())
    activations = 1024 * layers * (20 * hidden + 8 * widest) * width
    logits = min(256 * vocabulary, 48_000_000) * width * 6
    left_behind = checkpoint.parameters * width  # by quantising, which ran in the same process
    models = checkpoint.parameters * (2 * width + 1)
    return int(_LIBRARIES + left_behind + models + activations + logits)


def _notes(
    options: QuantizeOptions,
    checkpoint: Checkpoint,
    calibration: Calibration,
    linears: Mapping[str, Tensor],
) -> list[str]:
    notes = []
    least = max(tensor.shape[1] for tensor in linears.values())
    if calibration.tokens < least:
        notes.append(
            f"경고: 보정 글이 적습니다({calibration.tokens:,}토큰). 가장 넓은 층의 입력 너비인 "
            f"{least:,}토큰은 넘어야 하고, {8 * least:,}토큰을 넘으면 좋습니다. "
            "이대로는 품질이 크게 떨어질 수 있습니다."
        )
    elif len(calibration.rows) < calibration.wanted:
        notes.append(
            f"글이 모자라 {calibration.wanted}토막 대신 {len(calibration.rows)}토막을 씁니다."
        )
    if calibration.skipped:
        notes.append(f"대화 {calibration.skipped}개는 이 프롬프트 형식으로 적을 수 없어 뺐습니다.")
    if checkpoint.text_config.get("tie_word_embeddings"):
        notes.append("입력과 출력 임베딩을 함께 쓰는 모델이라, 임베딩은 16비트로 그대로 둡니다.")
    if options.desc_act:
        notes.append("--desc_act로 만든 모델은 GGUF(llama.cpp)로 그대로 옮길 수 없습니다.")
    if not options.sym:
        notes.append("--no_sym으로 만든 모델은 GGUF로 옮길 때 영점이 반올림되고, vLLM의 빠른 "
                     "커널을 쓰지 못합니다.")  # fmt: skip
    if options.bits != 4:
        notes.append(f"{options.bits}비트 모델은 GGUF로 그대로 옮길 수 없습니다.")
    return notes
