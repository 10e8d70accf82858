"""The same question with an adapter and without it."""

from __future__ import annotations

import secrets
from dataclasses import replace

from lightkorllm.conversation import Conversation
from lightkorllm.errors import BadRequest
from lightkorllm.generation import MAX_SEED, NO_ADAPTER
from lightkorllm.terminal import interrupts
from lightkorllm.terminal.answering import Answering
from lightkorllm.terminal.backend import Backend, Model
from lightkorllm.terminal.screen import Screen
from lightkorllm.terminal.settings import Settings


def adapter_to_compare(model: Model, chosen: str | None) -> str:
    """The adapter in use, or the only one there is. Raises `BadRequest` where it is not clear."""
    if not model.adapters:
        raise BadRequest("", "견줄 어댑터가 없습니다. --peft_lora_dir 어댑터_폴더로 시작해 주세요.")
    used = model.default_adapter if chosen in (None, NO_ADAPTER) else chosen
    if used is None and len(model.adapters) == 1:
        used = model.adapters[0]
    if used is None:
        names = ", ".join(model.adapters)
        raise BadRequest("", f"무엇과 견줄지 /어댑터 이름으로 골라 주세요. 있는 어댑터: {names}")
    return used


def compare(
    backend: Backend,
    screen: Screen,
    conversation: Conversation,
    settings: Settings,
    *,
    adapter: str,
) -> None:
    """Answer twice, drawing alike, and show both; Ctrl-C stops and shows what there is."""
    if settings.seed is None:
        settings = replace(settings, seed=secrets.randbelow(MAX_SEED))
    sides = ((f"어댑터 {adapter}", adapter), ("어댑터 없이", NO_ADAPTER))
    told = []
    with interrupts.caught() as keyboard:
        for title, name in sides:
            answering = Answering(backend.ask(conversation, settings, adapter=name), keyboard)
            for _ in answering:
                screen.status(f"{title} 답하는 중 … {answering.completion_tokens}토큰")
            screen.status("")
            if answering.fault:
                raise answering.fault
            stopped = " (멈춤)" if answering.stopped else ""
            told.append((title, answering.text + stopped, answering.numbers(0)))
            if keyboard.asked:
                break
    screen.side_by_side(told)
