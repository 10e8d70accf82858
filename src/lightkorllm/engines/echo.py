"""An engine without a model: it plays scripts of bytes, delays and faults. For tests and demos."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

from lightkorllm.engines.base import HEARTBEAT, Capabilities, Engine, ModelInfo
from lightkorllm.engines.slots import Slots
from lightkorllm.generation import (
    WAITING,
    FinishReason,
    GenerationRequest,
    TokenChunk,
    TokenLogprob,
)
from lightkorllm.text import Utf8Text


@dataclass(frozen=True, slots=True)
class Pause:
    """The engine computes for so many seconds without a token."""

    seconds: float


Step = bytes | str | Pause | Exception
"""One step of a script: a token's bytes (or text), a pause, or a fault that is raised."""

Script = Callable[[GenerationRequest], Iterable[Step]]


def words(request: GenerationRequest) -> Iterable[Step]:
    """The script of `--model echo`: say the last line that is no label again, word by word."""
    lines = [line for line in request.prompt.splitlines() if line and line[0] not in "#<["]
    return [word + " " for word in (lines or [""])[-1].split(" ")]


def saying(*steps: Step) -> Script:
    """A script that plays the same steps for each request."""
    return lambda request: steps


def endless(step: Step) -> Script:
    """A script that plays one step for ever."""
    return lambda request: itertools.repeat(step)


class EchoEngine(Engine):
    """Plays `script`; one step of bytes or text counts as one token, also in prompts: one a byte.

    `context_length` is in tokens. `steps_played` counts tokens over all requests, so that a test
    can see when work stops; `prompts` keeps the last hundred prompts as the model got them.
    """

    def __init__(
        self,
        script: Script = words,
        *,
        slots: int = 4,
        queue: int = 32,
        context_length: int = 8192,
        delay: float = 0.0,
        adapters: tuple[str, ...] = (),
        default_adapter: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        self.script = script
        self.slots = Slots(slots, queue=queue)
        self.steps_played = 0
        self.prompts: list[str] = []
        self._delay = delay
        self._capabilities = Capabilities(
            beams=True, logprobs=True, adapters=adapters, default_adapter=default_adapter
        )
        self._info = ModelInfo("echo", context_length, chat_template=chat_template)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def count_tokens(self, text: str) -> int:
        return len(text.encode("utf-8")) + 1

    def _generate(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        self.prompts = [*self.prompts[-99:], request.prompt]
        text, count, finish = Utf8Text(), 0, "stop"
        asked = request.params.logprobs is not None
        prompt_tokens = self.count_tokens(request.prompt)
        for step in self.script(request):
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Pause):
                yield from _pause(step.seconds)
                continue
            if count == request.params.max_tokens:
                finish = "length"
                break
            yield from _pause(self._delay)
            count += 1
            self.steps_played += 1
            token = step.encode("utf-8") if isinstance(step, str) else step
            yield TokenChunk(
                text.feed(token),
                completion_tokens=count,
                prompt_tokens=prompt_tokens,
                logprobs=(TokenLogprob(token, -0.5),) if asked else (),
            )
        yield _last(text.flush(), count, prompt_tokens, "length" if finish == "length" else "stop")

    def close(self) -> None:
        """Nothing was started."""


def _last(text: str, count: int, prompt_tokens: int, finish: FinishReason) -> TokenChunk:
    return TokenChunk(
        text, completion_tokens=count, prompt_tokens=prompt_tokens, finish_reason=finish
    )


def _pause(seconds: float) -> Generator[TokenChunk, None, None]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, HEARTBEAT))
        if left > HEARTBEAT:
            yield WAITING
