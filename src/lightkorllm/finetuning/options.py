"""Options of `lightkorllm finetune`, declared once, under the names that the original gave them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from lightkorllm.errors import OptionError


@dataclass(frozen=True)
class FinetuneOptions:
    """양자화한 모델(또는 원본 모델)을 내 데이터로 LoRA 미세조정합니다."""

    base_model_dir: Annotated[str | None, arg(aliases=["--model"], metavar="MODEL")] = None
    """바탕 모델: GPTQ나 원본 폴더, 저장소 이름, .gguf 파일. 생략하면 내장 모델을 씁니다."""

    dataset_dir: Annotated[str, arg(aliases=["--dataset"], metavar="DATA")] = ""
    """배울 데이터: 파일, 폴더, 데이터셋 이름. 형식은 저절로 알아냅니다."""

    train_output_dir: Annotated[Path, arg(aliases=["--output_dir"], metavar="OUTPUT_DIR")] = Path(
        "outputs"
    )
    """어댑터를 담을 폴더."""

    held_out_dir: Annotated[str | None, arg(metavar="DATA")] = None
    """배우지 않고 재기만 할 데이터. 생략하면 dataset에서 held_out_share만큼 떼어 둡니다."""

    held_out_share: Annotated[float, arg(metavar="SHARE")] = 0.1
    """배우지 않고 재기만 할 몫. 많아야 200행이고, 한 행뿐이면 떼지 않습니다."""

    lora_rank: Annotated[int, arg(metavar="RANK")] = 8
    """LoRA 행렬의 랭크."""

    lora_alpha: Annotated[int, arg(metavar="ALPHA")] = 32
    """LoRA의 크기: 가중치에 alpha/rank를 곱해 더합니다."""

    lora_dropout: Annotated[float, arg(metavar="DROPOUT")] = 0.05
    """LoRA 입력을 0으로 만드는 확률."""

    bias: Literal["none", "all", "lora_only"] = "none"
    """함께 배울 치우침. none이 아니면 GGUF로 옮길 수 없습니다."""

    target_modules: Annotated[str, arg(metavar="MODULES")] = "auto"
    """LoRA를 붙일 층: auto(q, k, v, o), all(모든 선형층), 또는 쉼표로 이은 이름."""

    rslora: bool = False
    """alpha/√rank를 곱합니다(rsLoRA). 랭크가 클 때 안정됩니다."""

    num_epochs: Annotated[float, arg(aliases=["--epochs"], metavar="EPOCHS")] = 3.0
    """데이터를 모두 몇 번 볼지. max_train_step을 주면 쓰지 않습니다."""

    max_train_step: Annotated[int, arg(metavar="STEPS")] = 0
    """배우는 단계 수. 0이면 num_epochs를 따릅니다."""

    train_batch_size: Annotated[int, arg(metavar="ROWS")] = 4
    """한 번에 계산할 행의 수. 메모리가 모자라면 줄여 주세요."""

    gradient_accumulation_step: Annotated[
        int, arg(aliases=["--gradient_accumulation_steps"], metavar="STEPS")
    ] = 4
    """몇 번 모아서 한 단계로 배울지."""

    max_length: Annotated[int, arg(metavar="TOKENS")] = 1024
    """행 하나의 최대 토큰 수. 더 긴 행은 자르지 않고 뺍니다."""

    learning_rate: Annotated[float, arg(metavar="RATE")] = 2e-4
    """학습률."""

    train_warmup_steps: Annotated[int, arg(metavar="STEPS")] = 2
    """학습률을 0에서 끌어올리는 단계 수."""

    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    """그 뒤 학습률을 어떻게 내릴지."""

    weight_decay: Annotated[float, arg(metavar="DECAY")] = 0.0
    """가중치 감쇠."""

    train_optimizer: Annotated[str, arg(metavar="OPTIMIZER")] = "auto"
    """최적화기: auto, adamw_torch, paged_adamw_8bit … 8비트는 CUDA와 bitsandbytes가 있을 때만."""

    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """메모리를 아끼려고 중간값을 다시 계산합니다. auto는 모자랄 때만 켭니다."""

    kernel: Literal["auto", "unpacked", "packed"] = "auto"
    """GPTQ 가중치를 풀어 놓고(unpacked, 빠름) 계산할지, 묶인 채(packed, 메모리 절약) 계산할지."""

    train_on_prompt: bool = False
    """대화의 답뿐 아니라 질문도 배웁니다. 역할이 없는 글은 언제나 모두 배웁니다."""

    prompt_format: Annotated[str, arg(metavar="PROMPT_FORMAT")] = "auto"
    """대화를 적을 프롬프트 형식. 기록에 남아 서빙할 때도 쓰입니다."""

    seed: Annotated[int, arg(metavar="SEED")] = 0
    """난수 씨앗. 같으면 같은 차례로 배웁니다."""

    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """계산할 장치: auto, cpu, cuda:0 …"""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """바탕 모델을 계산할 자료형. 어댑터는 언제나 float32로 배웁니다."""

    save_steps: Annotated[int, arg(metavar="STEPS")] = 0
    """몇 단계마다 중간 상태를 저장할지. 0이면 전체의 1/20마다."""

    eval_steps: Annotated[int, arg(metavar="STEPS")] = 0
    """몇 단계마다 떼어 둔 행으로 잴지. 0이면 전체의 1/10마다."""

    keep: Literal["best", "last"] = "best"
    """남길 어댑터: 떼어 둔 행을 가장 잘 맞힌 단계의 것, 또는 마지막 단계의 것."""

    samples: Annotated[int, arg(metavar="COUNT")] = 5
    """배우기 전과 뒤의 답을 나란히 적을 질문 수. 0이면 적지 않습니다."""

    report_to: Annotated[str, arg(metavar="NAMES")] = "none"
    """학습 기록을 함께 보낼 곳: none, tensorboard, trackio …"""

    dry_run: bool = False
    """읽은 데이터와 필요한 메모리만 보이고 멈춥니다."""

    overwrite: bool = False
    """이미 있는 결과 폴더나 끝나지 않은 다른 실행을 버리고 새로 만듭니다."""

    force: bool = False
    """메모리나 디스크가 모자라 보여도 시작합니다."""

    upload_dir: Annotated[str | None, arg(metavar="REPOSITORY")] = None
    """다 된 어댑터를 올릴 Hugging Face 저장소 이름. 주지 않으면 아무것도 올리지 않습니다."""

    def __post_init__(self) -> None:
        for name in ("lora_rank", "train_batch_size", "gradient_accumulation_step"):
            _require(name, getattr(self, name) >= 1, "1 이상이어야 합니다", self)
        for name in ("max_train_step", "train_warmup_steps", "save_steps", "eval_steps", "samples"):
            _require(name, getattr(self, name) >= 0, "0 이상이어야 합니다", self)
        _require("max_length", self.max_length >= 8, "8 이상이어야 합니다", self)
        _require("lora_alpha", self.lora_alpha > 0, "0보다 커야 합니다", self)
        _require("lora_dropout", 0 <= self.lora_dropout < 1, "0 이상 1 미만이어야 합니다", self)
        _require("learning_rate", self.learning_rate > 0, "0보다 커야 합니다", self)
        _require("weight_decay", self.weight_decay >= 0, "0 이상이어야 합니다", self)
        _require("num_epochs", self.num_epochs > 0, "0보다 커야 합니다", self)
        _require("held_out_share", 0 <= self.held_out_share < 1, "0 이상 1 미만이어야 합니다", self)


def _require(name: str, holds: bool, wanted: str, options: FinetuneOptions) -> None:
    if not holds:
        raise OptionError(f"--{name}", f"{wanted} (받은 값: {getattr(options, name)})")
