"""llama.cpp over a converted file: its own tokens, and the token it finds likeliest."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings

ENDED = -1  # the likeliest token ends the text


class Native:
    """One running llama.cpp. `adapter` is used by requests that ask for it."""

    def __init__(self, model: Path, *, adapter: Path | None = None, threads: int = 1) -> None:
        adapters: Mapping[str, Path] = {"adapter": adapter} if adapter else {}
        self._adapted = bool(adapter)
        self._engine = LlamaCppEngine(
            LlamaCppSettings(
                model, context_length=1024, n_parallel=1, threads=threads, adapters=adapters
            )
        )

    def __enter__(self) -> Native:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text, with what the model wants around it."""
        asked = {"content": text, "add_special": True, "parse_special": True}
        return [int(number) for number in self._post("/tokenize", asked)["tokens"]]

    def next_tokens(self, ids: Sequence[int], *, first: int, adapter: bool = False) -> list[int]:
        """The likeliest token after each of `ids[first:]`'s beginnings, one by one."""
        lora = {"lora": [{"id": 0, "scale": float(adapter)}]} if self._adapted else {}
        return [self._likeliest(ids[:end], lora) for end in range(first, len(ids))]

    def _likeliest(self, ids: Sequence[int], more: Mapping[str, Any]) -> int:
        asked = {
            "prompt": list(ids), "n_predict": 1, "temperature": 0, "cache_prompt": True,
            "return_tokens": True, **more,
        }  # fmt: skip
        answer = self._post("/completion", asked)
        return int(answer["tokens"][0]) if answer["tokens"] else ENDED

    def _post(self, path: str, values: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self._engine._child.url}{path}",
            json.dumps(values).encode(),
            {"Authorization": f"Bearer {self._engine._key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)
