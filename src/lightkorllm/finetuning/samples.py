"""Answers before and after, side by side, to questions that were not learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightkorllm.conversation import Conversation
from lightkorllm.finetuning.job import Job
from lightkorllm.prompts.base import Prompt
from lightkorllm.vocabulary import Vocabulary

_MOST_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer; `ended` is False where it was cut at the most tokens allowed."""

    text: str
    ended: bool


def answer(model: Any, vocabulary: Vocabulary, prompt: Prompt, *, tokens: int) -> Answer:
    """The greedy answer to a prompt, up to an end token or the prompt's stop strings."""
    import torch

    ids = torch.tensor([vocabulary.encode(prompt.text)], device=model.device)
    ends = sorted(vocabulary.ends)
    with torch.inference_mode():
        said = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
        )[0, ids.shape[1] :].tolist()
    ended = bool(said) and said[-1] in vocabulary.ends
    text = vocabulary.decode(said[:-1] if ended else said)
    cuts = [at for stop in prompt.stop if (at := text.find(stop)) >= 0]
    return Answer((text[: min(cuts)] if cuts else text).strip(), ended or bool(cuts))


def table(job: Job, model: Any) -> str:
    """A Markdown table of held-out questions with the base's and the adapter's answers."""
    vocabulary = job.encoder.vocabulary
    lines = ["| 질문 | 배우기 전 | 배운 뒤 |", "| --- | --- | --- |"]
    for conversation in list(questions(job))[: job.options.samples]:
        prompt = job.prompt_format.render(conversation)
        with model.disable_adapter():
            before = answer(model, vocabulary, prompt, tokens=_MOST_TOKENS)
        after = answer(model, vocabulary, prompt, tokens=_MOST_TOKENS)
        asked = " ⏎ ".join(turn.text for turn in conversation.turns)
        lines.append(f"| {_cell(asked)} | {_said(before)} | {_said(after)} |")
    return "\n".join(lines) + "\n"


def questions(job: Job) -> Iterator[Conversation]:
    """Held-out conversations without their last answer; learned ones where none was held out."""
    source = job.datasets[-1].items
    places = job.held_out.items if job.held_out else job.learned.items
    for place in dict.fromkeys(places):
        item = source[place]
        if isinstance(item, Conversation) and len(item.turns) > 1:
            yield Conversation(item.system, item.turns[:-1])


def _said(answer: Answer) -> str:
    return _cell(answer.text) + ("" if answer.ended else " …(끝나지 않음)")


def _cell(text: str) -> str:
    return "<br>".join(text.replace("|", "\\|").splitlines())
