"""A model one can talk to: an engine and a prompt format, with history that is made to fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lightkorllm import prompts, record
from lightkorllm.conversation import Conversation
from lightkorllm.engines import adapters, opening
from lightkorllm.engines.base import Engine
from lightkorllm.errors import BadRequest, ContextOverflow, OptionError
from lightkorllm.generation import (
    GenerationRequest,
    Reply,
    SamplingParams,
    TokenChunk,
    TokenLogprob,
)
from lightkorllm.options import ChatOptions
from lightkorllm.prompts.base import Piece, Prompt, PromptFormat, Settings
from lightkorllm.text import ReplyText, StopScanner


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation ready to be answered: its prompt fits and its parameters are final.

    `dropped` counts the exchanges that were left out of the prompt, oldest first. `raw` text is
    continued as it stands and shown as it comes, but for stop strings.
    """

    prompt: Prompt
    params: SamplingParams
    prompt_tokens: int
    dropped: int = 0
    adapter: str | None = None
    raw: bool = False

    def reader(self) -> ReplyText | StopScanner:
        """What turns the engine's text into the answer that is shown."""
        stops, prompt = self.params.stop, self.prompt
        if self.raw:
            return StopScanner(stops)
        return ReplyText(stops=stops, marks=prompt.stop, ai_labels=prompt.ai_labels)


class ShownTokens:
    """Which tokens' log-probabilities belong to the text that was shown: their bytes add up to it.

    Shown text is one stretch of what the model said, without its beginning and end. A token that
    sticks out of it is cut to the bytes inside.
    """

    def __init__(self) -> None:
        self._waiting: deque[TokenLogprob] = deque()
        self._shown = b""  # shown, but not covered by a token that was given out
        self._begun = False

    def feed(
        self, tokens: Iterable[TokenLogprob], shown: str, *, done: bool
    ) -> tuple[TokenLogprob, ...]:
        """The tokens that the newly shown text completes; with `done`, the last one's rest."""
        self._waiting.extend(tokens)
        if shown and not self._begun:
            self._begun = True
            self._skip_to(shown.encode("utf-8"))
        self._shown += shown.encode("utf-8")
        ready: list[TokenLogprob] = []
        while self._waiting and self._shown.startswith(self._waiting[0].token):
            ready.append(self._waiting.popleft())
            self._shown = self._shown[len(ready[-1].token) :]
        if done and self._waiting and self._shown:
            ready.append(replace(self._waiting.popleft(), token=self._shown))
        return tuple(ready)

    def _skip_to(self, shown: bytes) -> None:
        """Drop what the answer's beginning lost: tokens, and the first bytes of the next one."""
        said = b"".join(token.token for token in self._waiting)
        lost = max(0, said.find(shown))
        while self._waiting and lost >= len(self._waiting[0].token):
            lost -= len(self._waiting.popleft().token)
        if self._waiting and lost:
            first = self._waiting.popleft()
            self._waiting.appendleft(replace(first, token=first.token[lost:]))


class ChatModel:
    """Answers conversations. Any number of threads may ask at once.

    `prompt_format` is the model's own; an adapter that learned another one has it in
    `adapter_formats`, by name. `max_history` is the most past exchanges that a prompt may hold;
    0 leaves it to the context.
    """

    def __init__(
        self,
        engine: Engine,
        prompt_format: PromptFormat,
        *,
        adapter_formats: Mapping[str, PromptFormat] | None = None,
        max_history: int = 0,
    ) -> None:
        self.engine = engine
        self.prompt_format = prompt_format
        self._adapter_formats = dict(adapter_formats or {})
        self._max_history = max_history

    def format_of(self, adapter: str | None) -> PromptFormat:
        """What a request for `adapter` is written in; None is a request that names none."""
        used = self.engine.adapter_of(adapter)
        return self._adapter_formats.get(used, self.prompt_format) if used else self.prompt_format

    def prepare(
        self, conversation: Conversation, params: SamplingParams, *, adapter: str | None = None
    ) -> Question:
        """Fit a conversation that ends with the user's question into the context.

        Whole exchanges go, oldest first; the instruction and the newest question never go.
        `max_tokens` is lowered to what the prompt leaves. Raises `ContextOverflow` when the
        question alone is too long, and `BadRequest` for what the format or engine can't do.
        """
        if not conversation.turns or conversation.turns[-1].role != "user":
            raise BadRequest("input", "마지막 말은 사용자의 질문이어야 합니다")
        past = len(conversation.exchanges) - 1
        fewest = past - self._max_history if 0 < self._max_history < past else 0
        context = self.engine.info.context_length
        budget = context - min(params.max_tokens, context // 2)
        prompt, tokens, dropped = self._fit(
            conversation, budget, prompt_format=self.format_of(adapter), fewest=fewest, most=past
        )
        return self._clamped(Question(prompt, params, tokens, dropped=dropped, adapter=adapter))

    def prepare_text(
        self, text: str, params: SamplingParams, *, adapter: str | None = None
    ) -> Question:
        """A text to be continued as it stands, without a prompt format; raises as `prepare`."""
        prompt, tokens = Prompt((Piece(text),)), self.engine.count_tokens(text)
        return self._clamped(Question(prompt, params, tokens, adapter=adapter, raw=True))

    def _clamped(self, question: Question) -> Question:
        """The question with `max_tokens` lowered to what the context leaves."""
        context = self.engine.info.context_length
        room = context - question.prompt_tokens
        if room < 1:
            raise ContextOverflow(question.prompt_tokens + 1, context)
        tokens = min(question.params.max_tokens, room)
        question = replace(question, params=replace(question.params, max_tokens=tokens))
        self.engine.check(_request(question))
        return question

    def stream(self, question: Question) -> Generator[TokenChunk, None, None]:
        """The answer as it comes: text that is safe to show, stop strings cut off.

        Closing the generator ends the work. The last chunk has the `finish_reason`.
        """
        text, tokens = question.reader(), ShownTokens()
        asked = question.params.logprobs is not None
        with closing(self.engine.stream(_request(question))) as chunks:
            for chunk in chunks:
                shown = text.feed(chunk.text)
                done = text.stopped or chunk.finish_reason is not None
                if done:
                    shown += text.flush()
                finish = "stop" if text.stopped else chunk.finish_reason
                logprobs = tokens.feed(chunk.logprobs, shown, done=done) if asked else ()
                yield replace(chunk, text=shown, finish_reason=finish, logprobs=logprobs)
                if done:
                    return

    def reply(
        self, conversation: Conversation, params: SamplingParams, *, adapter: str | None = None
    ) -> Reply:
        """The whole answer at once."""
        return Reply.join(self.stream(self.prepare(conversation, params, adapter=adapter)))

    def close(self) -> None:
        self.engine.close()

    def _fit(
        self,
        conversation: Conversation,
        budget: int,
        *,
        prompt_format: PromptFormat,
        fewest: int,
        most: int,
    ) -> tuple[Prompt, int, int]:
        """The prompt that leaves out the fewest exchanges, between `fewest` and `most`.

        It has at most `budget` tokens, or else it is the shortest there is.
        """

        def measure(dropped: int) -> tuple[Prompt, int]:
            prompt = prompt_format.render(conversation.without_oldest(dropped))
            return prompt, self.engine.count_tokens(prompt.text)

        best = measure(fewest)
        if best[1] <= budget or fewest == most:
            return (*best, fewest)
        too_long, fits, found = fewest, most, None
        while fits - too_long > 1:
            middle = (too_long + fits) // 2
            best = measure(middle)
            if best[1] <= budget:
                fits, found = middle, best
            else:
                too_long = middle
        return (*(found or measure(fits)), fits)


def open_chat(options: ChatOptions) -> ChatModel:
    """The model of `options`, loaded and ready to talk. Raises a `SetupError` where it can't be.

    The prompt format `auto` is what the record beside the weights says, else the model's own
    chat template, else `lightkor`. An adapter with a record goes by its own.
    """
    check(options)
    options = opening.located(options)
    engine = opening.open_engine(options)
    try:
        prompt_format = _format(options, engine, recorded=_recorded_format(options))
        adapter_formats = _adapter_formats(options, engine)
        _check_beams(options, engine)
    except BaseException:
        engine.close()
        raise
    return ChatModel(
        engine, prompt_format, adapter_formats=adapter_formats, max_history=options.max_history
    )


def check(options: ChatOptions) -> None:
    """Refuse what can be seen to fail before the model is loaded."""
    opening.check(options)
    if options.prompt_format not in ("auto", "template"):
        prompts.get(options.prompt_format, _settings(options))


def _check_beams(options: ChatOptions, engine: Engine) -> None:
    if options.num_beams > 1 and not engine.capabilities.beams:
        raise OptionError(
            "--num_beams", "이 모델의 엔진은 빔 탐색을 하지 못합니다. 1로 두고 시작해 주세요"
        )


def default_params(options: ChatOptions) -> SamplingParams:
    """Parameters of a request that says nothing."""
    return SamplingParams(
        max_tokens=options.max_new_token,
        num_beams=options.num_beams,
        early_stopping=options.early_stopping,
        seed=options.seed,
    )


def _format(options: ChatOptions, engine: Engine, *, recorded: str = "") -> PromptFormat:
    info = engine.info
    settings = replace(
        _settings(options), chat_template=info.chat_template, bos=info.bos, eos=info.eos
    )
    name = options.prompt_format
    if name == "auto":
        name = prompts.automatic(recorded, settings)
    return prompts.get(name, settings)


def _recorded_format(options: ChatOptions) -> str:
    model = options.quantized_model_dir
    found = record.read(Path(model).expanduser()) if model else None
    return found.prompt_format if found else ""


def _adapter_formats(options: ChatOptions, engine: Engine) -> dict[str, PromptFormat]:
    """The formats that adapters were trained with, of those whose records tell."""
    if options.prompt_format != "auto" or not engine.capabilities.adapters:
        return {}
    return {
        name: _format(options, engine, recorded=adapter.record.prompt_format)
        for name, adapter in adapters.wanted(options).named.items()
        if adapter.record and adapter.record.prompt_format
    }


def _settings(options: ChatOptions) -> Settings:
    return Settings(human_str=options.human_str, ai_str=options.ai_str, stop_str=options.stop_str)


def _request(question: Question) -> GenerationRequest:
    return GenerationRequest(question.prompt.text, question.params, question.adapter)
