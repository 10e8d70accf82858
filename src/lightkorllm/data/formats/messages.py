"""OpenAI's chat rows: `messages`, a list of `role` and `content`."""

from __future__ import annotations

from lightkorllm.data.formats._talks import Talks

FORMAT = Talks(name="messages", rank=50, columns=("messages",))
