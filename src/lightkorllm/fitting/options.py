"""Options of `lightkorllm fit` and `lightkorllm models`, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from lightkorllm.errors import OptionError


@dataclass(frozen=True)
class FitOptions:
    """모델이 이 컴퓨터나 카드에 들어가는지, 내려받거나 올리지 않고 알려 줍니다."""

    model: Positional[Annotated[str, arg(metavar="MODEL")]] = ""
    """모델: 폴더, 저장소 이름, 목록의 이름, .gguf 파일. 생략하면 내장 모델입니다."""

    vram: Annotated[float, arg(metavar="GB")] = 0.0
    """카드의 메모리(GB). 0이면 이 컴퓨터의 카드를, 카드가 없으면 주 메모리를 봅니다."""

    context_length: Annotated[int, arg(aliases=["--context"], metavar="TOKENS")] = 0
    """요청 하나의 문맥 길이(토큰). 0이면 serve처럼 모델의 최대 길이와 4096 중 작은 쪽입니다."""

    n_parallel: Annotated[int, arg(metavar="N_PARALLEL")] = 1
    """동시에 답하는 요청 수."""

    kv_type: Literal["f16", "q8_0", "q4_0"] = "f16"
    """KV 캐시의 자료형(llama.cpp)."""

    engine: Literal["auto", "llamacpp", "transformers"] = "auto"
    """엔진. auto면 serve처럼 고릅니다."""

    device: Literal["auto", "cpu"] = "auto"
    """cpu면 카드가 있어도 주 메모리를 봅니다."""

    train: bool = False
    """서빙 대신 LoRA 미세조정에 드는 메모리를 봅니다."""

    max_length: Annotated[int, arg(metavar="TOKENS")] = 1024
    """미세조정: 행 하나의 최대 토큰 수."""

    train_batch_size: Annotated[int, arg(metavar="ROWS")] = 4
    """미세조정: 한 번에 계산할 행의 수."""

    lora_rank: Annotated[int, arg(metavar="RANK")] = 8
    """미세조정: LoRA 행렬의 랭크."""

    json: bool = False
    """사람이 읽을 글 대신 JSON 하나를 씁니다."""

    def __post_init__(self) -> None:
        _at_least(self, 0, "vram", "context_length")
        _at_least(self, 1, "n_parallel", "max_length", "train_batch_size", "lora_rank")


@dataclass(frozen=True)
class ModelsOptions:
    """한국어를 하는 모델의 목록을, 이 컴퓨터나 카드에 들어가는지와 함께 보여 줍니다."""

    vram: Annotated[float, arg(metavar="GB")] = 0.0
    """카드의 메모리(GB). 0이면 이 컴퓨터의 카드를, 카드가 없으면 주 메모리를 봅니다."""

    all: bool = False
    """들어가지 않는 모델도 보여 줍니다."""

    json: bool = False
    """사람이 읽을 글 대신 JSON 하나를 씁니다."""

    def __post_init__(self) -> None:
        _at_least(self, 0, "vram")


def _at_least(options: FitOptions | ModelsOptions, low: int, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value < low:
            raise OptionError(f"--{name}", f"{low} 이상이어야 합니다 (받은 값: {value})")
