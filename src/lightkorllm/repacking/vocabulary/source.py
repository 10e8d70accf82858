"""What a checkpoint's files say about its tokenizer, in one place and without loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkorllm.checkpoint import Checkpoint, read_json
from lightkorllm.errors import ModelBroken


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before anything else."""

    number: int
    text: str
    special: bool
    strips: bool


@dataclass(frozen=True)
class Source:
    """tokenizer.json and what stands beside it. `size` is the number of embedding rows."""

    folder: Path
    file: Mapping[str, Any]
    settings: Mapping[str, Any]
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    size: int

    @property
    def model(self) -> Mapping[str, Any]:
        model: Mapping[str, Any] = self.file["model"]
        return model

    @property
    def vocab(self) -> Mapping[str, int]:
        vocab: Mapping[str, int] = self.model["vocab"]
        return vocab

    def merges(self) -> list[tuple[str, str]]:
        """Merge rules, first come first; both spellings of tokenizer.json are read."""
        pairs = (
            rule.split(" ", 1) if isinstance(rule, str) else rule for rule in self.model["merges"]
        )
        return [(left, right) for left, right in pairs]

    def added(self) -> list[AddedToken]:
        return [
            AddedToken(
                token["id"], token["content"], bool(token.get("special")),
                bool(token.get("lstrip") or token.get("rstrip") or token.get("single_word")),
            )
            for token in self.file.get("added_tokens") or []
        ]  # fmt: skip

    def steps(self, kind: str) -> list[Mapping[str, Any]]:
        """The normalizers, pre-tokenizers or decoders in a row, sequences opened."""
        inner = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}.get(kind, "")
        return _opened(self.file.get(kind), inner)

    def refusal(self, what: str) -> ModelBroken:
        return ModelBroken(
            f"{self.folder}의 토크나이저({what})는 llama.cpp에 똑같이 옮길 수 없습니다. "
            "transformers 엔진으로 실행해 주세요."
        )


def read(checkpoint: Checkpoint, *, size: int) -> Source:
    """Raises `ModelBroken` where there is no tokenizer.json, or one of another kind than BPE."""
    folder = checkpoint.folder
    file = read_json(folder / "tokenizer.json")
    if not file:
        raise ModelBroken(
            f"{folder} 폴더에 tokenizer.json이 없습니다. transformers로 토크나이저를 한 번 읽어 "
            "save_pretrained로 다시 저장하면 생깁니다."
        )
    source = Source(
        folder, file, read_json(folder / "tokenizer_config.json"),
        checkpoint.config, read_json(folder / "generation_config.json"), size,
    )  # fmt: skip
    model = file.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or (kind or "BPE") != "BPE" or "merges" not in model:
        raise source.refusal(f"종류 {kind}")
    if model.get("dropout") or model.get("continuing_subword_prefix"):
        raise source.refusal("BPE dropout이나 이어지는 조각 표시")
    return source


def _opened(step: Any, inner: str) -> list[Mapping[str, Any]]:
    if not step:
        return []
    if step.get("type") != "Sequence":
        return [step]
    return [single for part in step.get(inner) or [] for single in _opened(part, inner)]
