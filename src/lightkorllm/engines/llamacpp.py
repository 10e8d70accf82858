"""The engine for GGUF files: llama.cpp in a child process, spoken to over loopback HTTP."""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightkorllm import gguf_header
from lightkorllm.engines.base import HEARTBEAT, Capabilities, Engine, ModelInfo
from lightkorllm.engines.child import Child, unavailable
from lightkorllm.engines.exchange import Origin
from lightkorllm.engines.slots import Slots
from lightkorllm.engines.upstream import LLAMA_SERVER, Upstream
from lightkorllm.errors import EngineUnavailable, ModelBroken
from lightkorllm.generation import WAITING, GenerationRequest, TokenChunk

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 4096
RESTART_PATIENCE = 15.0  # seconds a request waits for a crashed engine to come back
# Host memory for prompts of conversations that lost their slot. Never with adapters: llama.cpp
# finds such a prompt by its tokens alone and would go on from what another adapter computed.
PROMPT_CACHE_MIB = 256


@dataclass(frozen=True, slots=True)
class LlamaCppSettings:
    """How llama.cpp is to run a GGUF file. `context_length` is tokens of one request.

    0 stands for "choose": the model's own context up to 4,096 tokens, and all cores but one.
    `adapters` maps names to GGUF LoRA files; `default_adapter` answers requests that name none.
    """

    model: Path
    name: str = ""
    context_length: int = 0
    n_parallel: int = 4
    queue: int = 32
    threads: int = 0
    gpu_layers: int = -1
    needs_gpu: bool = False
    main_gpu: int | None = None
    kv_type: str = "f16"
    adapters: Mapping[str, Path] = field(default_factory=dict)
    default_adapter: str | None = None


class LlamaCppEngine(Engine):
    """Starts the child and waits until the model is loaded.

    Raises `ModelNotFound` or `ModelBroken` when the model can't be run.
    """

    def __init__(self, settings: LlamaCppSettings) -> None:
        header = gguf_header.read(settings.model)
        # llama.cpp computes one adapter at a time, and lets the others starve while it has work.
        self.slots = Slots(settings.n_parallel, queue=settings.queue, mixed=False)
        self._adapters = tuple(settings.adapters)
        self._capabilities = Capabilities(
            json_schema=True,
            logprobs=True,
            adapters=self._adapters,
            default_adapter=settings.default_adapter,
        )
        self._key = secrets.token_urlsafe(32)
        self._child = self._start(settings, header)
        try:
            self._info, self._adds_bos = self._ask(settings, header)
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def ready(self) -> bool:
        return self._child.url is not None

    @property
    def restarts(self) -> int:
        """How often the child was started again after a crash."""
        return max(0, self._child.starts - 1)

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._child.pid

    def count_tokens(self, text: str) -> int:
        text = self._with_one_bos(text)
        try:
            return self._up().count_tokens(text)
        except EngineUnavailable:  # the child has just died
            time.sleep(HEARTBEAT)
            return self._up().count_tokens(text)

    def close(self) -> None:
        self._child.close()

    def _generate(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        prompt = replace(request, prompt=self._with_one_bos(request.prompt))
        deadline = time.monotonic() + RESTART_PATIENCE
        tried: set[str] = set()
        while len(tried) < 2 and time.monotonic() < deadline:
            url = self._child.wait_until_up(HEARTBEAT)
            if url is None or url in tried:
                time.sleep(HEARTBEAT if url else 0)
                yield WAITING
                continue
            tried.add(url)
            try:
                yield from self._upstream(url).complete(prompt, self._extra(request))
            except EngineUnavailable:  # the child has just died and nothing was said: once more
                log.debug("llama.cpp went away before it answered")
            else:
                return
        raise unavailable()

    def _extra(self, request: GenerationRequest) -> dict[str, Any]:
        """Each request says which adapters it wants, so that none leaks into another.

        With a seed the prompt is computed anew: a reused prefix is rounded differently, and what
        is asked with a seed is meant to be repeatable.
        """
        scales = [1.0 if name == request.adapter else 0.0 for name in self._adapters]
        lora = [{"id": number, "scale": scale} for number, scale in enumerate(scales)]
        params = request.params
        return {
            **({"lora": lora} if lora else {}),
            **({"cache_prompt": False} if params.seed is not None else {}),
            **({"json_schema": json.loads(params.json_schema)} if params.json_schema else {}),
        }

    def _with_one_bos(self, text: str) -> str:
        if self._adds_bos and self._info.bos:
            return text.removeprefix(self._info.bos)
        return text

    def _up(self) -> Upstream:
        url = self._child.wait_until_up(RESTART_PATIENCE)
        if url is None:
            raise unavailable()
        return self._upstream(url)

    def _upstream(self, url: str) -> Upstream:
        return Upstream(Origin.from_url(url), dialect=LLAMA_SERVER, key=self._key)

    def _start(self, settings: LlamaCppSettings, header: gguf_header.GgufHeader) -> Child:
        wanted = settings.context_length or DEFAULT_CONTEXT
        context = min(wanted, header.train_context or wanted)
        if settings.context_length > context:
            log.warning(
                "이 모델의 최대 문맥은 %s토큰이라 --context_length를 거기에 맞춥니다.",
                f"{context:,}",
            )
        try:
            return Child(
                "lightkorllm.engines.llamacpp_child",
                {
                    "model": str(settings.model),
                    "key": self._key,
                    "context_length": context,
                    "n_parallel": settings.n_parallel,
                    "threads": settings.threads or default_threads(),
                    "gpu_layers": settings.gpu_layers,
                    "needs_gpu": settings.needs_gpu,
                    "main_gpu": settings.main_gpu,
                    "kv_type": settings.kv_type,
                    "prompt_cache_mib": 0 if settings.adapters else PROMPT_CACHE_MIB,
                    "adapters": [str(path) for path in settings.adapters.values()],
                },
                healthy=lambda url: self._upstream(url).healthy(),
                on_log=_log,
            )
        except ModelBroken as error:
            raise ModelBroken(
                f"llama.cpp가 {settings.model} 을 올리지 못했습니다: {error}"
            ) from None

    def _ask(
        self, settings: LlamaCppSettings, header: gguf_header.GgufHeader
    ) -> tuple[ModelInfo, bool]:
        upstream = self._up()
        props = upstream.get("/props")
        info = ModelInfo(
            name=settings.name or settings.model.stem,
            context_length=int(props["default_generation_settings"]["n_ctx"]),
            bos=str(props.get("bos_token") or ""),
            eos=str(props.get("eos_token") or ""),
            chat_template=header.chat_template,
        )
        return info, upstream.count_tokens("") > 0


def default_threads() -> int:
    """All cores but one, since more threads than free cores make llama.cpp collapse."""
    return max(1, (os.cpu_count() or 2) - 1)


def _log(line: str) -> None:
    """A line such as `0.01.072 W load: …`: llama.cpp's notes are for debugging, errors are ours."""
    level = logging.ERROR if " E " in line[:20] else logging.DEBUG
    log.log(level, "llama.cpp: %s", line)
