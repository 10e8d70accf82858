"""The agreement of all engines: a request goes in, a stream of text chunks comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace

from lightkorllm.engines.slots import Slots
from lightkorllm.errors import BadRequest, Unsupported
from lightkorllm.generation import NO_ADAPTER, WAITING, GenerationRequest, TokenChunk

HEARTBEAT = 0.25  # seconds between two "still waiting" chunks


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do beyond plain sampling.

    `default_adapter` answers requests that name no adapter; without it, the model as it is.
    """

    beams: bool = False
    json_schema: bool = False
    logprobs: bool = False
    adapters: tuple[str, ...] = ()
    default_adapter: str | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What an engine knows of its model.

    `context_length` is in tokens, for prompt and answer of one request together.
    `chat_template` is the model's own Jinja source; None where it has none.
    """

    name: str
    context_length: int
    bos: str = ""
    eos: str = ""
    chat_template: str | None = None


class Engine(ABC):
    """One running model.

    Closing the generator that `stream` returns ends the work and frees its slot, at any moment.
    All methods may be called from several threads at once.
    """

    slots: Slots

    @property
    @abstractmethod
    def info(self) -> ModelInfo:
        """The model's description. Raises `EngineUnavailable` while it is loading."""

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def ready(self) -> bool:
        """Whether a request that came now would be worked on."""
        return True

    @property
    def restarts(self) -> int:
        """How often the engine was started again after a crash."""
        return 0

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """How many tokens the model sees for `text` as a prompt, its one BOS included."""

    def stream(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        """Continue a prompt; stop strings are the reader's business, see `chat.ChatModel`.

        Raises `EngineBusy` when the queue is full, `Unsupported` for what this engine cannot do,
        `EngineUnavailable` while it is down and `EngineFailed` when an answer breaks off.
        """
        self.check(request)
        request = replace(request, adapter=self.adapter_of(request.adapter))
        with self.slots.line_up(request.adapter) as place:
            while not place.wait(HEARTBEAT):
                yield WAITING
            yield from self._generate(request)

    @abstractmethod
    def _generate(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        """The same, once a slot is ours. `request.adapter` None is the model as it is."""

    @abstractmethod
    def close(self) -> None:
        """End everything that was started. Closing twice is allowed."""

    def adapter_of(self, asked: str | None) -> str | None:
        """The adapter that a request gets who asked for `asked`; None is the model as it is."""
        if asked is None:
            return self.capabilities.default_adapter
        return None if asked == NO_ADAPTER else asked

    def check(self, request: GenerationRequest) -> None:
        """Refuse what this engine cannot do, before anything is waited for."""
        if request.params.num_beams > 1 and not self.capabilities.beams:
            raise Unsupported(
                "num_beams",
                "이 엔진은 빔 탐색을 하지 못합니다. 1로 두거나 transformers 엔진을 쓰세요",
            )
        if request.params.json_schema is not None and not self.capabilities.json_schema:
            raise Unsupported("response_format", "이 엔진은 답을 JSON 스키마에 맞추지 못합니다")
        if request.params.logprobs is not None and not self.capabilities.logprobs:
            raise Unsupported("logprobs", "이 엔진은 토큰의 확률을 알려 주지 못합니다")
        if request.adapter not in (None, NO_ADAPTER, *self.capabilities.adapters):
            known = ", ".join((*self.capabilities.adapters, NO_ADAPTER))
            raise BadRequest(
                "adapter", f"{request.adapter!r} 어댑터는 없습니다 (있는 어댑터: {known})"
            )
