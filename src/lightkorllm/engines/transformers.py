"""The engine for Hugging Face checkpoints, plain and GPTQ: transformers, with our own batch."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightkorllm import checkpoint, hardware, hub, lora, pretrained
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.engines import peft_adapters
from lightkorllm.engines.base import HEARTBEAT, Capabilities, Engine, ModelInfo
from lightkorllm.engines.llamacpp import default_threads
from lightkorllm.engines.slots import Slots
from lightkorllm.errors import (
    BadRequest,
    ContextOverflow,
    EngineError,
    ModelBroken,
    Unsupported,
)
from lightkorllm.generation import GenerationRequest, TokenChunk, TokenLogprob
from lightkorllm.hardware import Compute
from lightkorllm.text import IdText
from lightkorllm.vocabulary import Vocabulary

if TYPE_CHECKING:
    from lightkorllm.engines.batch import Job, Token

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 4096
_CHUNK = {"cpu": 128, "cuda": 512}  # tokens of a prompt that are read between two steps


@dataclass(frozen=True, slots=True)
class TransformersSettings:
    """How transformers is to run a checkpoint. `context_length` is tokens of one request.

    0 stands for "choose": the model's own context up to 4,096 tokens, and all cores but one; so
    does `auto`. `dtype` is torch's name of a number type, `backend` GPTQModel's
    of a kernel. `adapters` maps names to PEFT folders;
    `default_adapter` answers requests that name none.
    """

    model: Path
    name: str = ""
    device: str = "auto"
    dtype: str = "auto"
    backend: str = "auto"
    context_length: int = 0
    n_parallel: int = 4
    queue: int = 32
    threads: int = 0
    adapters: Mapping[str, Path] = field(default_factory=dict)
    default_adapter: str | None = None


class TransformersEngine(Engine):
    """Loads the model and starts its thread. `compute` says how; `model` is the torch module.

    Raises `ModelNotFound`, `ModelBroken` or `MissingPackage` when the model can't be run.
    """

    def __init__(self, settings: TransformersSettings) -> None:
        found = checkpoint.read(settings.model)
        for folder in settings.adapters.values():
            lora.read(folder)
        tokenizer = pretrained.load_tokenizer(found.folder)
        self.compute = hardware.choose(
            settings.device,
            gptq=found.gptq is not None,
            model_type=found.model_type,
            dtype=settings.dtype,
        )
        if settings.backend != "auto":
            self.compute = replace(self.compute, backend=settings.backend)
        self.threads = settings.threads or default_threads()
        self.slots = Slots(settings.n_parallel, queue=settings.queue)
        self.model = _load(found, self.compute, self.threads)
        self._vocabulary_size = int(self.model.config.get_text_config().vocab_size)
        self._vocabulary = Vocabulary(tokenizer, ends=_ends(self.model))
        self._capabilities = Capabilities(
            beams=True,
            logprobs=True,
            adapters=tuple(settings.adapters),
            default_adapter=settings.default_adapter,
        )
        self._info = _describe(settings, found, tokenizer, self._vocabulary)
        use = peft_adapters.load(self.model, settings.adapters, base=self._info.name)
        self._batch = self._start(settings, pad=tokenizer.pad_token_id or 0, use=use)
        _say_how(found, self.model, self.compute)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def ready(self) -> bool:
        return bool(self._batch.alive)

    def count_tokens(self, text: str) -> int:
        return len(self._vocabulary.encode(text))

    def check(self, request: GenerationRequest) -> None:
        super().check(request)
        if request.params.num_beams > 1 and request.params.logprobs is not None:
            raise Unsupported("logprobs", "빔 탐색에서는 토큰의 확률을 알려 주지 못합니다")
        for token, _ in request.params.logit_bias:
            if token >= self._vocabulary_size:
                raise BadRequest("logit_bias", f"그런 토큰 번호는 없습니다 (받은 값: {token})")

    def close(self) -> None:
        """Ends the thread and gives the memory back."""
        self._batch.close()
        self.model = None
        _give_memory_back()

    def _generate(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        from lightkorllm.engines.batch import Job

        prompt = self._vocabulary.encode(request.prompt)
        if len(prompt) >= self._info.context_length:
            raise ContextOverflow(len(prompt) + 1, self._info.context_length)
        job = Job(prompt, request.params, adapter=request.adapter)
        self._batch.add(job)
        try:
            yield from self._read(job)
        finally:
            job.leave()

    def _read(self, job: Job) -> Generator[TokenChunk, None, None]:
        from lightkorllm.engines.batch import End

        text, count, prompt_tokens = IdText(self._vocabulary.decode), 0, len(job.prompt)
        while True:
            event = job.next(HEARTBEAT)
            if isinstance(event, EngineError):
                raise event
            if isinstance(event, End):
                yield TokenChunk(
                    text.flush(), event.tokens, prompt_tokens, finish_reason=event.reason
                )
                return
            if event is None:
                yield TokenChunk("", count, prompt_tokens)
                continue
            count += 1
            shown = text.feed(event.id)
            yield TokenChunk(shown, count, prompt_tokens, logprobs=self._logprobs(event))

    def _logprobs(self, token: Token) -> tuple[TokenLogprob, ...]:
        rated, spelled = token.rated, self._vocabulary.token_bytes
        if rated is None:
            return ()
        top = tuple((spelled(other), logprob) for other, logprob in rated.top)
        return (TokenLogprob(spelled(token.id), rated.logprob, top),)

    def _start(self, settings: TransformersSettings, *, pad: int, use: Any) -> Any:
        from lightkorllm.engines import beams
        from lightkorllm.engines.batch import Batch, Limits

        limits = Limits(
            ends=self._vocabulary.ends,
            context=self._info.context_length,
            chunk=_CHUNK.get(self.model.device.type, 256),
            threads=self.threads,
        )
        search = beams.searcher(self.model, limits, pad=pad)
        return Batch(self.model, limits, use=use, search=search)


def _load(found: Checkpoint, compute: Compute, threads: int) -> Any:
    """The model, without bars and hints between the log's lines. Raises `ModelBroken`."""
    import torch
    from transformers.utils import logging as theirs

    guest: Any = theirs
    guest.set_verbosity_error()
    guest.disable_progress_bar()
    torch.set_num_threads(threads)
    try:
        return pretrained.load_model(
            found, device=compute.device, dtype=compute.dtype, backend=compute.backend
        )
    except torch.OutOfMemoryError:
        raise ModelBroken(
            f"{found.folder} 모델({found.size / 1e9:.1f}GB)이 {compute.device}의 메모리에 들어가지 "
            "않습니다. 더 작거나 4비트로 양자화한 모델을 쓰거나, --device cpu로 시작해 주세요."
        ) from None


def _give_memory_back() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _ends(model: Any) -> Iterable[int]:
    """The EOS ids that the model's configurations name, one or several each."""
    for config in (model.generation_config, model.config, model.config.get_text_config()):
        ids = getattr(config, "eos_token_id", None)
        yield from ids if isinstance(ids, list | tuple) else [] if ids is None else [ids]


def _describe(
    settings: TransformersSettings, found: Checkpoint, tokenizer: Any, vocabulary: Vocabulary
) -> ModelInfo:
    wanted = settings.context_length or DEFAULT_CONTEXT
    context = min(wanted, found.context_length or wanted)
    if settings.context_length > context:
        log.warning(
            "이 모델의 최대 문맥은 %s토큰이라 --context_length를 거기에 맞춥니다.", f"{context:,}"
        )
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return ModelInfo(
        name=settings.name or hub.name_of(found.folder),
        context_length=context,
        bos=vocabulary.bos,
        eos=vocabulary.eos,
        chat_template=template or None,
    )


def _say_how(found: Checkpoint, model: Any, compute: Compute) -> None:
    kernels = {type(part).__name__ for part in model.modules() if hasattr(part, "qweight")}
    log.info(
        "transformers 엔진: %s, %s, %s",
        compute.device,
        compute.dtype,
        f"GPTQ 커널 {', '.join(sorted(kernels))}" if kernels else "양자화하지 않은 가중치",
    )
    if compute.advice:
        log.warning("%s", compute.advice)
