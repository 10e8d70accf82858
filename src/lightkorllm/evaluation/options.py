"""Options of `lightkorllm evaluate`, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from lightkorllm.errors import OptionError


@dataclass(frozen=True)
class EvaluateOptions:
    """모델 하나를 재거나 둘을 견줍니다."""

    a: Annotated[Positional[str], arg(metavar="A")] = ""
    """모델: Hugging Face 폴더(GPTQ도 됩니다), 저장소 이름 또는 .gguf 파일."""

    b: Annotated[Positional[str | None], arg(metavar="[B]")] = None
    """견줄 모델. 토크나이저가 A와 같아야 합니다."""

    text: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FILE")] = ()
    """재는 데 쓸 UTF-8 글 파일. 여러 번 줄 수 있고, 생략하면 내장된 한국어와 영어 글을 씁니다."""

    tokens: Annotated[int, arg(metavar="TOKENS")] = 4096
    """글 하나마다 잴 토큰 수."""

    tasks: Annotated[str | None, arg(metavar="TASKS")] = None
    """lm-eval 과제 이름을 쉼표로: kobest_boolq,haerae,kmmlu … (lightkorllm[eval] 필요)"""

    limit: Annotated[int, arg(metavar="LIMIT")] = 0
    """과제마다 풀 문제 수. 0이면 모두 풉니다."""

    output_dir: Annotated[Path | None, arg(metavar="OUTPUT_DIR")] = None
    """report.json, report.md, report.png를 쓸 폴더. 생략하면 화면에만 보입니다."""

    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    """계산할 장치: auto, cpu, cuda:0 …"""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """계산할 자료형. auto는 장치에 맞는 것을 고릅니다."""

    def __post_init__(self) -> None:
        if self.tokens < 2:
            raise OptionError("--tokens", f"2 이상이어야 합니다 (받은 값: {self.tokens})")
        if self.limit < 0:
            raise OptionError("--limit", f"0 이상이어야 합니다 (받은 값: {self.limit})")
