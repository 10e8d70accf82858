"""Alpaca's rows, as in KoAlpaca, KULLM and Dolly: `instruction`, maybe `input`, and `output`."""

from __future__ import annotations

from lightkorllm.data.formats._pairs import Pairs

FORMAT = Pairs(
    name="alpaca",
    rank=30,
    questions=("instruction", "지시", "지시문", "명령", "명령어"),
    contexts=("input", "question", "context", "입력", "질문", "맥락"),
    answers=("output", "response", "answer", "출력", "응답", "답변", "답"),
)
