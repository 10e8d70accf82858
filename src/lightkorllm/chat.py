"""A model one can talk to: an engine and a prompt format, with history that is made to fit."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from lightkorllm import prompts, record
from lightkorllm.conversation import Conversation
from lightkorllm.engines import opening
from lightkorllm.engines.base import Engine
from lightkorllm.errors import BadRequest, ContextOverflow, OptionError
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams, TokenChunk
from lightkorllm.options import ChatOptions
from lightkorllm.prompts.base import Prompt, PromptFormat, Settings
from lightkorllm.text import ReplyText


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation ready to be answered: its prompt fits and its parameters are final.

    `dropped` counts the exchanges that were left out of the prompt, oldest first.
    """

    prompt: Prompt
    params: SamplingParams
    prompt_tokens: int
    dropped: int = 0
    adapter: str | None = None


class ChatModel:
    """Answers conversations. Any number of threads may ask at once.

    `max_history` is the most past exchanges that a prompt may hold; 0 leaves it to the context.
    """

    def __init__(
        self, engine: Engine, prompt_format: PromptFormat, *, max_history: int = 0
    ) -> None:
        self.engine = engine
        self.prompt_format = prompt_format
        self._max_history = max_history

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
        prompt, tokens, dropped = self._fit(conversation, budget, fewest=fewest, most=past)
        room = context - tokens
        if room < 1:
            raise ContextOverflow(tokens + 1, context)
        params = replace(params, max_tokens=min(params.max_tokens, room))
        question = Question(prompt, params, tokens, dropped=dropped, adapter=adapter)
        self.engine.check(_request(question))
        return question

    def stream(self, question: Question) -> Generator[TokenChunk, None, None]:
        """The answer as it comes: text that is safe to show, stop strings cut off.

        Closing the generator ends the work. The last chunk has the `finish_reason`.
        """
        prompt = question.prompt
        text = ReplyText(stops=question.params.stop, marks=prompt.stop, ai_labels=prompt.ai_labels)
        with closing(self.engine.stream(_request(question))) as chunks:
            for chunk in chunks:
                shown = text.feed(chunk.text)
                done = text.stopped or chunk.finish_reason is not None
                if done:
                    shown += text.flush()
                finish = "stop" if text.stopped else chunk.finish_reason
                yield replace(chunk, text=shown, finish_reason=finish)
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
        self, conversation: Conversation, budget: int, *, fewest: int, most: int
    ) -> tuple[Prompt, int, int]:
        """The prompt that leaves out the fewest exchanges, between `fewest` and `most`.

        It has at most `budget` tokens, or else it is the shortest there is.
        """
        best = self._measure(conversation, dropped=fewest)
        if best[1] <= budget or fewest == most:
            return (*best, fewest)
        too_long, fits, found = fewest, most, None
        while fits - too_long > 1:
            middle = (too_long + fits) // 2
            best = self._measure(conversation, dropped=middle)
            if best[1] <= budget:
                fits, found = middle, best
            else:
                too_long = middle
        return (*(found or self._measure(conversation, dropped=fits)), fits)

    def _measure(self, conversation: Conversation, *, dropped: int) -> tuple[Prompt, int]:
        prompt = self.prompt_format.render(conversation.without_oldest(dropped))
        return prompt, self.engine.count_tokens(prompt.text)


def open_chat(options: ChatOptions) -> ChatModel:
    """The model of `options`, loaded and ready to talk. Raises a `SetupError` where it can't be.

    The prompt format `auto` is what the record beside the weights says, else the model's own
    chat template, else `lightkor`.
    """
    check(options)
    engine = opening.open_engine(options)
    try:
        prompt_format = _format(options, engine)
        _check_beams(options, engine)
    except BaseException:
        engine.close()
        raise
    return ChatModel(engine, prompt_format, max_history=options.max_history)


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


def _format(options: ChatOptions, engine: Engine) -> PromptFormat:
    info = engine.info
    settings = replace(
        _settings(options), chat_template=info.chat_template, bos=info.bos, eos=info.eos
    )
    name = options.prompt_format
    if name == "auto":
        name = _recorded_format(options) or ("template" if info.chat_template else "lightkor")
    return prompts.get(name, settings)


def _recorded_format(options: ChatOptions) -> str:
    for path in (options.quantized_model_dir, *options.peft_lora_dir):
        found = record.read(Path(path.rpartition("=")[2]).expanduser()) if path else None
        if found and found.prompt_format:
            return found.prompt_format
    return ""


def _settings(options: ChatOptions) -> Settings:
    return Settings(human_str=options.human_str, ai_str=options.ai_str, stop_str=options.stop_str)


def _request(question: Question) -> GenerationRequest:
    return GenerationRequest(question.prompt.text, question.params, question.adapter)
