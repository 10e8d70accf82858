"""Options of `lightkorllm data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lightkorllm.errors import OptionError


@dataclass(frozen=True)
class DataOptions:
    """데이터가 어떻게 읽히고, 모델이 그것을 어떤 글로 보고 무엇을 배우는지 보여 줍니다."""

    file: Positional[Annotated[str, arg(metavar="FILE")]] = ""
    """파일, 폴더, 데이터셋 이름. builtin:pairs는 함께 들어 있는 한국어 질문과 답입니다."""

    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """배울 모델: 폴더, 저장소 이름, .gguf 파일, 내장 모델은 embedded. 생략하면 글자 수로 셉니다."""

    prompt_format: Annotated[str, arg(metavar="PROMPT_FORMAT")] = "auto"
    """대화를 적을 프롬프트 형식. auto는 모델의 것이고, 모델이 없으면 lightkor입니다."""

    format: Annotated[str, arg(metavar="FORMAT")] = "auto"
    """데이터 형식: auto, alpaca, sharegpt, messages, prompt_completion, text."""

    columns: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="THEIRS=OURS")] = ()
    """열 이름 바꾸기. 문의=question 꼴로, 여러 번 주거나 쉼표로 잇습니다."""

    max_length: Annotated[int, arg(metavar="TOKENS")] = 1024
    """행 하나의 최대 토큰 수. 더 긴 대화는 배우지 않습니다. 0이면 한도가 없습니다."""

    train_on_prompt: bool = False
    """대화의 답뿐 아니라 질문도 배운다고 보고 보여 줍니다."""

    rows: Annotated[int, arg(metavar="ROWS")] = 3
    """모델이 볼 글 그대로 보여 줄 행의 수."""

    json: bool = False
    """사람이 읽을 글 대신 JSON 하나를 씁니다."""

    def __post_init__(self) -> None:
        for name in ("max_length", "rows"):
            value = getattr(self, name)
            if value < 0:
                raise OptionError(f"--{name}", f"0 이상이어야 합니다 (받은 값: {value})")
        _ = self.renamed

    @property
    def renamed(self) -> dict[str, str]:
        """Our column names by the file's."""
        return dict(map(_pair, (p for text in self.columns for p in text.split(",") if p.strip())))


def _pair(text: str) -> tuple[str, str]:
    theirs, _, ours = (part.strip() for part in text.rpartition("="))
    if not theirs or not ours:
        raise OptionError("--columns", f"문의=question 꼴이어야 합니다 (받은 값: {text!r})")
    return theirs, ours
