"""What the embedded model says with its Korean adapter: 100 held-out questions, answered greedily.

The answers go through the same engine and prompt as the server's. Written down: how many were cut
at the limit, how many are Korean, whether one holds a role label, and a Markdown table of every
fifth question with the answers of the bare model and of the adapter.
`python benchmarks/adapter.py [--adapter FOLDER] [--table FILE]`
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as in serve.py

from benchmarks.harness import Machine, Row, arguments, report

import lightkorllm
from lightkorllm import embedded, record
from lightkorllm.conversation import Conversation
from lightkorllm.data import pairs
from lightkorllm.errors import ModelNotFound
from lightkorllm.generation import Reply, SamplingParams

QUESTIONS = 100
LIMIT = 256  # tokens, as the server's default
LABELS = ("사용자:", "AI:", "###", "User:", "Assistant:", "질문:", "답변:")


def main() -> None:
    command = _arguments()
    machine = Machine.here()
    folder = command.adapter or embedded.adapter()
    if folder is None:
        raise ModelNotFound("no adapter: give one with --adapter")
    asked = questions()
    tuned = answers(asked, adapter=folder)
    rows = [
        Row.below("answers cut at the limit", sum(r.finish_reason == "length" for r in tuned),
                  limit=6, unit=f"of {QUESTIONS}"),
        Row.below("answers that are not Korean", sum(not is_korean(r.text) for r in tuned),
                  limit=6, unit=f"of {QUESTIONS}"),
        Row.below("answers with a role label", sum(has_label(r.text) for r in tuned),
                  limit=1, unit=f"of {QUESTIONS}"),
    ]  # fmt: skip
    told = record.read(folder)
    if told and "held_out_loss" in told.scores:
        before, after = told.scores["held_out_loss_before"], told.scores["held_out_loss"]
        goal, ratio = "ratio <= 0.75", after / before
        rows.append(Row("held-out loss, adapter against base", after, before, ratio, goal,
                        ratio <= 0.75))  # fmt: skip
    if command.table:
        shown = asked[:: QUESTIONS // 20]
        bare = answers(shown, adapter=None)
        text = table(shown, bare, tuned[:: QUESTIONS // 20])
        command.table.write_text(text, encoding="utf-8")
    report(machine, rows, json_file=command.json)


def _arguments() -> argparse.Namespace:
    parser = arguments("100 held-out questions to the embedded model with its adapter")
    parser.add_argument("--adapter", metavar="FOLDER", type=Path)
    parser.add_argument("--table", metavar="FILE", type=Path)
    return parser.parse_args()


def questions() -> list[Conversation]:
    """The same 100 of our held-out conversations, without their last answers."""
    items = [item for item in pairs.held_out().items if isinstance(item, Conversation)]
    chosen = random.Random(0).sample(items, QUESTIONS)
    return [Conversation(item.system, item.turns[:-1]) for item in chosen]


def answers(asked: Sequence[Conversation], *, adapter: Path | None) -> list[Reply]:
    """Greedy answers, four at a time."""
    chosen = ("none",) if adapter is None else (str(adapter),)
    params = SamplingParams(LIMIT, temperature=0)
    chat = lightkorllm.load(peft_lora_dir=chosen, prompt_format="lightkor", n_parallel=4)
    try:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda one: chat.reply(one, params), asked))
    finally:
        chat.close()


def is_korean(text: str) -> bool:
    """Whether most letters are Hangul."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum("가" <= letter <= "힣" for letter in letters) * 2 > len(letters)


def has_label(text: str) -> bool:
    return any(label in text for label in LABELS)


def table(asked: Sequence[Conversation], bare: Sequence[Reply], tuned: Sequence[Reply]) -> str:
    """Markdown; an answer that was cut at the limit says so."""
    lines = ["| 질문 | 어댑터 없이 | 어댑터로 |", "| --- | --- | --- |"]
    for conversation, before, after in zip(asked, bare, tuned, strict=True):
        said = [conversation.system, *(turn.text for turn in conversation.turns)]
        question = " / ".join(text for text in said if text)
        lines.append(f"| {_cell(question)} | {_said(before)} | {_said(after)} |")
    return "\n".join(lines) + "\n"


def _said(reply: Reply) -> str:
    text = _cell(reply.text)
    if reply.finish_reason == "length":
        return f"{text[:160]} …(256토큰에서 끊김)"
    return text


def _cell(text: str) -> str:
    return "<br>".join(text.replace("|", "\\|").splitlines())


if __name__ == "__main__":
    main()
