"""One question and one answer in a row, under the many names that such columns have."""

from __future__ import annotations

from lightkorllm.data.formats._pairs import Pairs

FORMAT = Pairs(
    name="prompt_completion",
    rank=20,
    questions=("prompt", "question", "query", "q", "질문", "질의", "프롬프트", "input", "입력"),
    contexts=("context", "맥락", "지문"),
    answers=(
        *("completion", "answer", "response", "a", "답변", "답", "대답", "응답"),
        *("output", "출력"),
    ),
)
