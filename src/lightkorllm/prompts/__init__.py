"""Prompt formats by name. Each is one file here that offers `build(settings) -> PromptFormat`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from lightkorllm import record
from lightkorllm.errors import OptionError
from lightkorllm.prompts.base import PromptFormat, Settings

AUTO = "auto"


def names() -> tuple[str, ...]:
    """Every format there is, in alphabetical order: the files beside this one, but for `base`."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def automatic(recorded: str, settings: Settings) -> str:
    """The format `auto` means: what the record says, else the model's own template, else ours."""
    return recorded or ("template" if settings.chat_template else "lightkor")


def for_model(model: Path, tokenizer: Any, *, name: str = AUTO) -> PromptFormat:
    """The format of a model folder or file with its tokenizer; `auto` as `automatic` says.

    Raises as `get` does, and `ModelBroken` where the record beside the model is none.
    """
    template = tokenizer.chat_template
    settings = Settings(
        chat_template=template if isinstance(template, str) else None,
        bos=tokenizer.bos_token or "",
        eos=tokenizer.eos_token or "",
    )
    if name != AUTO:
        return get(name, settings)
    found = record.read(model)
    return get(automatic(found.prompt_format if found else "", settings), settings)


def get(name: str, settings: Settings) -> PromptFormat:
    """The format of that name.

    Raises `OptionError` where there is none, or where the model lacks what the format needs,
    and `ModelBroken` where the model's chat template cannot be read.
    """
    if name not in names():
        raise OptionError(
            "--prompt_format",
            f"{name!r}이라는 프롬프트 형식은 없습니다. 쓸 수 있는 형식: {', '.join(names())}",
        )
    build: Callable[[Settings], PromptFormat] = import_module(f"{__name__}.{name}").build
    return build(settings)
