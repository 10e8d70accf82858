"""Options of `lightkorllm export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ExportOptions:
    """모델이나 LoRA 어댑터 폴더를 llama.cpp가 읽는 GGUF 파일로 옮깁니다."""

    model: Positional[Annotated[str, arg(metavar="MODEL")]] = ""
    """옮길 폴더: GPTQ 모델, 양자화하지 않은 모델, 또는 PEFT LoRA 어댑터."""

    format: Literal["gguf"] = "gguf"
    """만들 파일의 형식."""

    output: Annotated[Path | None, arg(metavar="FILE")] = None
    """만들 파일. 생략하면 지금 폴더에 폴더이름.gguf로 만듭니다."""

    type: Annotated[str, arg(metavar="TYPE")] = "auto"
    """층의 수 형식: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, q6_k, q5_k_m, q4_k_m.
    auto는 값을 바꾸지 않습니다: GPTQ는 Q4_0 같은 같은 값의 묶음으로, 나머지는 있는 그대로."""

    embedding: Annotated[str, arg(metavar="TYPE")] = "auto"
    """임베딩과 출력 행렬의 수 형식. exact는 값을 바꾸지 않습니다. auto는 GPTQ 모델이면 exact인데
    임베딩이 모델의 절반을 넘으면 빠른 q8_0이고, GPTQ가 아니면 --type을 따릅니다."""

    base: Annotated[str | None, arg(metavar="MODEL")] = None
    """어댑터를 옮길 때: 훈련한 모델의 폴더나 GGUF 파일. 생략하면 어댑터에 적힌 것을 씁니다."""

    overwrite: bool = False
    """만들 파일이 이미 있으면 새것으로 바꿉니다."""
