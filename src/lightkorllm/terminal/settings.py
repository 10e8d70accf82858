"""How answers are drawn, as far as the user has said so; the rest is left to whoever answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from lightkorllm.errors import BadRequest
from lightkorllm.generation import SamplingParams

_NOTHING = ("없음", "기본", "기본값", "none", "default")

KOREAN = {
    "max_new_token": "길이",
    "temperature": "온도",
    "top_p": "상위확률",
    "top_k": "상위개수",
    "min_p": "최소확률",
    "repetition_penalty": "반복억제",
    "seed": "씨앗",
}
"""The Korean name of each setting."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings by their names in the HTTP API; None is what the engine or server does."""

    max_new_token: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    def changed(self, name: str, text: str) -> Settings:
        """With one setting, by either of its names, read from `text`. Raises `BadRequest`."""
        field = _field(name)
        if text.casefold() in _NOTHING:
            return replace(self, **{field: None})
        kind: Callable[[str], Any] = int if field in _WHOLE else float
        try:
            value = kind(text)
        except ValueError:
            wanted = "정수" if field in _WHOLE else "숫자"
            raise BadRequest(field, f"{wanted}여야 합니다 (받은 값: {text!r})") from None
        settings = replace(self, **{field: value})
        settings.over()
        return settings

    def over(self, defaults: SamplingParams | None = None) -> SamplingParams:
        """The parameters of a request. Raises `BadRequest` for a value that makes no sense."""
        said = {_PARAM.get(name, name): value for name, value in self.said().items()}
        try:
            return replace(defaults or SamplingParams(), **said)
        except BadRequest as error:
            if error.param != "max_tokens":
                raise
            raise BadRequest("max_new_token", error.problem) from None

    def said(self) -> dict[str, Any]:
        """What is set, by name."""
        values = {name: getattr(self, name) for name in KOREAN}
        return {name: value for name, value in values.items() if value is not None}


_PARAM = {"max_new_token": "max_tokens"}
_WHOLE = ("max_new_token", "top_k", "seed")
assert [field.name for field in fields(Settings)] == list(KOREAN)


def shown(name: str, defaults: SamplingParams | None) -> str:
    """What happens where a setting is not set; without `defaults` only the server knows."""
    if defaults is None:
        return "서버가 정함"
    value = getattr(defaults, _PARAM.get(name, name))
    return "매번 새로 뽑음" if value is None else f"{value} (기본값)"


def _field(name: str) -> str:
    found = [field for field, korean in KOREAN.items() if name.casefold() in (field, korean)]
    if not found:
        known = ", ".join(f"{korean}({field})" for field, korean in KOREAN.items())
        raise BadRequest(name, f"그런 설정은 없습니다. 있는 설정: {known}")
    return found[0]
