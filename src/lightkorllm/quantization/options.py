"""Options of `lightkorllm quantize`, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from lightkorllm.errors import OptionError


@dataclass(frozen=True)
class QuantizeOptions:
    """모델을 한국어로 보정하며 4비트 GPTQ로 양자화합니다."""

    pretrained_model_dir: Annotated[str, arg(aliases=["--model"], metavar="MODEL")] = ""
    """양자화할 모델: Hugging Face 형식의 폴더 또는 저장소 이름."""

    quantized_model_dir: Annotated[
        Path | None, arg(aliases=["--output_dir"], metavar="OUTPUT_DIR")
    ] = None
    """결과 폴더. 생략하면 지금 폴더에 모델이름-gptq-4bit 꼴로 만듭니다."""

    bits: Literal[2, 3, 4, 8] = 4
    """가중치 하나의 비트 수. 4가 아니면 쓸 수 있는 엔진이 줄어듭니다."""

    group_size: Annotated[int, arg(metavar="GROUP_SIZE")] = 128
    """배율 하나를 나눠 쓰는 가중치의 수. 층의 입력 너비를 나누어야 하고, -1이면 한 행입니다."""

    desc_act: bool = False
    """활성값이 큰 열부터 양자화합니다. 조금 정확해지지만 GGUF로 옮길 수 없습니다."""

    sym: bool = True
    """0을 가운데에 둔 대칭 양자화. 끄면 GGUF로 옮길 때 값이 조금 달라집니다."""

    damp_percent: Annotated[float, arg(metavar="DAMP")] = 0.05
    """헤세 행렬의 대각에 더하는 비율. 보정 글이 적어 풀리지 않으면 저절로 커집니다."""

    calibration: Annotated[str | None, arg(metavar="FILE")] = None
    """보정에 쓸 글: 데이터 파일, 폴더, 데이터셋 이름. 생략하면 내장된 한국어 글을 씁니다."""

    samples: Annotated[int, arg(metavar="SAMPLES")] = 128
    """보정에 쓸 토막의 수."""

    sequence_length: Annotated[int, arg(metavar="TOKENS")] = 512
    """보정 토막 하나의 길이(토큰)."""

    english_share: Annotated[float, arg(metavar="SHARE")] = 0.1
    """내장된 글을 쓸 때 영어 토막의 비율. 0이면 한국어만 씁니다."""

    mse: Annotated[float, arg(metavar="POWER")] = 2.4
    """배율을 고를 때 오차를 몇 제곱으로 볼지. 0이면 최솟값과 최댓값으로 정합니다."""

    tune_steps: Annotated[int | None, arg(metavar="STEPS")] = None
    """양자화한 뒤 원본의 예측을 따르도록 배율을 다듬는 단계 수. 생략하면 형편을 보고 정합니다."""

    prompt_format: Annotated[str, arg(metavar="PROMPT_FORMAT")] = "auto"
    """보정 대화를 적을 프롬프트 형식. 기록에 남아 서빙할 때도 쓰입니다."""

    batch_size: Annotated[int, arg(metavar="BATCH_SIZE")] = 4
    """한 번에 계산할 토막의 수. 메모리가 모자라면 줄여 주세요."""

    seed: Annotated[int, arg(metavar="SEED")] = 0
    """보정 글을 섞는 난수 씨앗. 같으면 같은 토막을 씁니다."""

    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """계산할 장치: auto, cpu, cuda:0 …"""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """계산할 자료형. auto는 장치에 맞는 것을 고릅니다."""

    report_tokens: Annotated[int, arg(metavar="TOKENS")] = 2048
    """품질 보고서에서 글 하나마다 잴 토큰 수. 0이면 보고서를 만들지 않습니다."""

    dry_run: bool = False
    """점검한 결과와 필요한 메모리만 보이고 멈춥니다."""

    overwrite: bool = False
    """결과 폴더가 이미 있으면 새것으로 바꿉니다."""

    force: bool = False
    """메모리나 디스크가 모자라 보여도 시작합니다."""

    upload_dir: Annotated[str | None, arg(metavar="REPOSITORY")] = None
    """다 된 폴더를 올릴 Hugging Face 저장소 이름. 주지 않으면 아무것도 올리지 않습니다."""

    def __post_init__(self) -> None:
        for name, low in (("samples", 1), ("sequence_length", 8), ("batch_size", 1)):
            _require(name, getattr(self, name) >= low, f"{low} 이상이어야 합니다", self)
        _require("mse", self.mse >= 0, "0 이상이어야 합니다", self)
        _require("tune_steps", (self.tune_steps or 0) >= 0, "0 이상이어야 합니다", self)
        _require("report_tokens", self.report_tokens >= 0, "0 이상이어야 합니다", self)
        _require("damp_percent", 0 < self.damp_percent < 1, "0과 1 사이여야 합니다", self)
        _require("english_share", 0 <= self.english_share <= 1, "0부터 1까지여야 합니다", self)
        whole = self.group_size == -1 or self.group_size > 0
        _require("group_size", whole, "양수이거나 -1(한 행 전체)이어야 합니다", self)


def _require(name: str, holds: bool, wanted: str, options: QuantizeOptions) -> None:
    if not holds:
        raise OptionError(f"--{name}", f"{wanted} (받은 값: {getattr(options, name)})")
