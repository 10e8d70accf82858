"""One answer on its way: its text as it comes, and then what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from lightkorllm.errors import LightKorError
from lightkorllm.generation import FinishReason
from lightkorllm.terminal.backend import Asked
from lightkorllm.terminal.interrupts import Interrupts


class Answering:
    """Iterate it for the text. Then `text` is the whole, `finish_reason` None where it was
    stopped, and `fault` the error that broke it off."""

    def __init__(self, asked: Asked, interrupts: Interrupts | None = None) -> None:
        self.dropped = asked.dropped
        self.text = ""
        self.finish_reason: FinishReason | None = None
        self.fault: LightKorError | None = None
        self.prompt_tokens = self.completion_tokens = 0
        self.waited = self.seconds = 0.0  # to the first text, and in all
        self._asked = asked
        self._interrupts = interrupts or Interrupts()

    def __iter__(self) -> Iterator[str]:
        begun = time.monotonic()
        try:
            with closing(self._asked.chunks) as chunks:
                for chunk in chunks:
                    self.prompt_tokens = max(self.prompt_tokens, chunk.prompt_tokens)
                    self.completion_tokens = max(self.completion_tokens, chunk.completion_tokens)
                    self.finish_reason = chunk.finish_reason
                    self.seconds = time.monotonic() - begun
                    if chunk.text:
                        self.waited = self.waited or self.seconds
                        self.text += chunk.text
                        yield chunk.text
                    if self._interrupts.asked:
                        return
        except LightKorError as fault:
            self.fault = fault

    @property
    def stopped(self) -> bool:
        """Whether it did not come to its own end."""
        return self.finish_reason is None

    @property
    def tokens_per_second(self) -> float | None:
        """Since the first text, so without the reading of the prompt; None where unknown."""
        drawn, seconds = self.completion_tokens - 1, self.seconds - self.waited
        return drawn / seconds if drawn > 0 and seconds > 0 else None

    def numbers(self, context_length: int) -> str:
        """Tokens, speed and context use in one line."""
        told = [f"{self.completion_tokens:,}토큰"]
        if self.tokens_per_second is not None:
            told.append(f"{self.tokens_per_second:.1f}토큰/초")
        if self.prompt_tokens:
            used = self.prompt_tokens + self.completion_tokens
            of = f"/{context_length:,} ({used / context_length:.0%})" if context_length else ""
            told.append(f"문맥 {used:,}{of}")
        return " · ".join(told)
