"""The model's own chat template, made to take every conversation that it can be made to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import OptionError, TemplateFailed
from lightkorllm.prompts._sandbox import compile_template, run
from lightkorllm.prompts.base import (
    Piece,
    Prompt,
    PromptFormat,
    Settings,
    alternate,
    compact,
    require_turns,
)

_END_MARKERS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "[|endofturn|]",
    "<|endofturn|>",
    "</s>",
    "<turn|>",
)


def build(settings: Settings) -> PromptFormat:
    """The format of `settings.chat_template`, compiled once.

    Raises `OptionError` where the model has none and `ModelBroken` where it is not Jinja.
    """
    if not settings.chat_template:
        raise OptionError(
            "--prompt_format",
            "이 모델에는 대화 템플릿이 없습니다. `lightkor`처럼 이름 있는 형식을 골라 주세요.",
        )
    return ModelTemplate(settings.chat_template, bos=settings.bos, eos=settings.eos)


class ModelTemplate:
    """Renders as `transformers` would, without thinking, and knows what the template can't take.

    Whether it has a place for a system text, and takes turns in a row from one side, is tried out
    once: so a conversation is always spelled the same, whether its last answer is still to come
    or to be learned from. A system text without a place is put before the user's first words.
    """

    name = "template"

    def __init__(self, source: str, *, bos: str, eos: str) -> None:
        self._template = compile_template(source)
        self._bos = bos
        self._eos = eos
        self._stop = _stops(source, eos=eos)

    def render(self, conversation: Conversation) -> Prompt:
        """See `PromptFormat`. `TemplateFailed` has the template's own reason."""
        require_turns(conversation)
        pieces = compact(self._pieces(self._fit(conversation)))
        return Prompt(pieces, stop=self._stop)

    def _fit(self, conversation: Conversation) -> Conversation:
        """The same conversation, spelled so that the template can take it."""
        if not conversation.system.strip():
            conversation = replace(conversation, system="")
        elif not self._takes_system:
            conversation = _fold_system(conversation)
        merged = alternate(conversation.turns)
        if len(merged) == len(conversation.turns) or self._takes_repeats:
            return conversation
        return replace(conversation, turns=merged)

    @cached_property
    def _takes_system(self) -> bool:
        asked = Conversation.ask("질문글", system="지시글")
        return self._takes(asked, asked.add("assistant", "답변글"))

    @cached_property
    def _takes_repeats(self) -> bool:
        said = Conversation.ask("첫째물음").add("user", "둘째물음")
        answered = said.add("assistant", "첫째답변").add("assistant", "둘째답변")
        return self._takes(answered.add("user", "셋째물음"), answered)

    def _takes(self, asked: Conversation, answered: Conversation) -> bool:
        """Whether both can be written; learning is not asked of a template that never allows it."""
        plain = Conversation.ask("홑물음").add("assistant", "홑답변")
        return self._keeps(asked) and (self._keeps(answered) or not self._keeps(plain))

    def _keeps(self, conversation: Conversation) -> bool:
        """Whether the template takes this conversation and loses none of its texts."""
        try:
            text = "".join(piece.text for piece in self._pieces(conversation))
        except TemplateFailed:
            return False
        said = (turn.text for turn in conversation.turns)
        return all(part in text for part in (conversation.system, *said))

    def _pieces(self, conversation: Conversation) -> Iterator[Piece]:
        now = datetime.now()  # one clock, or the text before an answer could differ from it
        if conversation.turns[-1].role == "assistant":
            yield from self._closed(conversation, now=now)
        else:
            yield Piece(self._write(conversation, now=now, opened=True))

    def _closed(self, conversation: Conversation, *, now: datetime) -> Iterator[Piece]:
        """An answer is what the template adds when it is given one; that much is learned.

        An earlier answer that the template writes differently later on is not learned. Raises
        `TemplateFailed` where the last answer cannot be told from what stands before it.
        """
        text = self._write(conversation, now=now, opened=False)
        done = 0
        for told in _up_to_each_answer(conversation):
            span = self._last_answer(told, text, now=now)
            if span is not None and span[0] >= done:
                yield Piece(text[done : span[0]])
                yield Piece(text[span[0] : span[1]], learned=True)
                done = span[1]
            elif told == conversation:
                raise TemplateFailed("input", _NOT_LEARNABLE)
        yield Piece(text[done:])

    def _last_answer(
        self, conversation: Conversation, text: str, *, now: datetime
    ) -> tuple[int, int] | None:
        """Where in `text` the last answer of a conversation begins and ends, if that shows."""
        asked = replace(conversation, turns=conversation.turns[:-1])
        try:
            before = self._write(asked, now=now, opened=True)
            after = self._write(conversation, now=now, opened=False)
        except TemplateFailed:
            return None
        if not (text.startswith(after) and after.startswith(before)):
            return None
        emitted = after.rstrip()
        end = len(emitted) if emitted.endswith(self._stop) else len(after)
        return (len(before), end) if len(before) <= end else None

    def _write(self, conversation: Conversation, *, now: datetime, opened: bool) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in conversation.turns]
        if conversation.system:
            messages.insert(0, {"role": "system", "content": conversation.system})
        variables = {
            "messages": messages,
            "add_generation_prompt": opened,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "tools": None,
            "documents": None,
            "enable_thinking": False,
            "strftime_now": now.strftime,
        }
        return run(self._template, variables)


_NOT_LEARNABLE = (
    "모델의 대화 템플릿이 이 대화를 거절했습니다: 답변을 뺀 글이 답변까지 쓴 글의 앞부분과 "
    "같지 않아서, 학습할 답변만 골라낼 수 없습니다."
)


def _up_to_each_answer(conversation: Conversation) -> Iterator[Conversation]:
    for count, turn in enumerate(conversation.turns, start=1):
        if turn.role == "assistant":
            yield replace(conversation, turns=conversation.turns[:count])


def _fold_system(conversation: Conversation) -> Conversation:
    """The system text before the user's first words, or as a first turn where there are none."""
    turns = list(conversation.turns)
    for index, turn in enumerate(turns):
        if turn.role == "user":
            turns[index] = Turn("user", f"{conversation.system}\n\n{turn.text}")
            return Conversation(turns=tuple(turns))
    return Conversation(turns=(Turn("user", conversation.system), *turns))


def _stops(source: str, *, eos: str) -> tuple[str, ...]:
    """EOS as text and the end markers in the template: a net for what an engine lets through."""
    found = [marker for marker in _END_MARKERS if marker in source]
    if "<|endofturn|>" in found and "<|im_end|>" in found:
        found.remove("<|im_end|>")  # HyperCLOVA X closes its inner channels with it
    return tuple(dict.fromkeys(stop for stop in (eos, *found) if stop))
