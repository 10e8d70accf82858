"""ShareGPT's rows: `conversations`, a list of `from` (human, gpt, system) and `value`."""

from __future__ import annotations

from lightkorllm.data.formats._talks import Talks

FORMAT = Talks(
    name="sharegpt", rank=40, columns=("conversations", "conversation", "dialogue", "대화")
)
