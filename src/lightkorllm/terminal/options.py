"""Options of a conversation in a terminal: those of a model, or the address of a server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from lightkorllm.errors import BadRequest, OptionError
from lightkorllm.options import ChatOptions
from lightkorllm.terminal.settings import Settings


@dataclass(frozen=True)
class TerminalOptions(ChatOptions):
    """터미널에서 모델과 이야기합니다. 모델을 직접 올리거나, 켜져 있는 서버에 붙습니다."""

    n_parallel: Annotated[int, arg(metavar="N_PARALLEL")] = 1
    """동시에 답하는 요청 수. 터미널에서는 하나면 됩니다."""

    url: Annotated[str | None, arg(metavar="URL")] = None
    """모델을 올리지 않고 붙을 서버의 주소: http://127.0.0.1:5989"""

    api_key: Annotated[str | None, arg(metavar="API_KEY")] = field(default=None, repr=False)
    """그 서버의 API 키. 서버와 같은 LIGHTKORLLM_API_KEY도 됩니다."""

    prompt: Annotated[str | None, arg(metavar="PROMPT")] = None
    """이 질문 하나에 답하고 끝냅니다. 표준 출력에는 답만 씁니다."""

    system: Annotated[str, arg(metavar="SYSTEM")] = ""
    """모델에게 주는 지시문."""

    adapter: Annotated[str | None, arg(metavar="ADAPTER")] = None
    """처음에 쓸 어댑터의 이름. none이면 쓰지 않습니다."""

    temperature: Annotated[float | None, arg(metavar="TEMPERATURE")] = None
    """답의 무작위성. 0이면 언제나 가장 그럴듯한 토큰을 고릅니다. 생략하면 기본값을 씁니다."""

    config: Annotated[Path | None, arg(metavar="FILE")] = None
    """같은 옵션을 적은 TOML 파일. serve의 것도 되고, 서버에만 있는 항목은 지나칩니다."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.url is not None and (self.quantized_model_dir or self.peft_lora_dir):
            raise OptionError(
                "--url", "서버의 모델과 어댑터를 씁니다. --model과 --peft_lora_dir를 빼 주세요"
            )
        try:
            self.settings.over()
        except BadRequest as error:
            raise OptionError(f"--{error.param}", error.problem) from None

    @property
    def settings(self) -> Settings:
        """What each question is asked with, until `/설정` changes it."""
        return Settings(
            max_new_token=self.max_new_token, temperature=self.temperature, seed=self.seed
        )

    @property
    def key(self) -> str:
        """The key itself: a server's variable may hold several, and names before colons."""
        first, _, _ = (self.api_key or "").partition(",")
        return first.rpartition(":")[2].strip()
