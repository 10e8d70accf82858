"""데이터를 모델이 보는 그대로 보여 주고, 무엇이 이상한지 알려 줍니다."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightkorllm.data import Dataset
    from lightkorllm.data.options import DataOptions
    from lightkorllm.data.preview import Preview


def run(argv: Sequence[str], *, prog: str) -> None:
    """Read the data, tell what was understood, and show the first rows with what is learned."""
    from lightkorllm.data.options import DataOptions
    from lightkorllm.errors import OptionError
    from lightkorllm.options import load

    options = load(DataOptions, argv, prog=prog)
    if not options.file:
        raise OptionError("FILE", f"볼 데이터를 주세요: {prog} 파일")

    from lightkorllm import data
    from lightkorllm.cli import _json, _logging, _rows
    from lightkorllm.data import overview

    _logging.to_stderr("warning", style="plain")
    dataset = data.load(options.file, format=options.format, columns=options.renamed)
    if not options.json:
        print(*overview.dataset_lines(dataset), sep="\n", flush=True)
    preview = _preview(options, dataset)
    if options.json:
        _json.show(overview.as_json(dataset, preview))
        return
    print(*overview.preview_lines(dataset, preview), sep="\n")
    _rows.show(dataset, preview)


def _preview(options: DataOptions, dataset: Dataset) -> Preview:
    from lightkorllm import prompts
    from lightkorllm.data import preview
    from lightkorllm.data.encode import Encoder
    from lightkorllm.prompts.base import Settings

    if options.model is None:
        name = "lightkor" if options.prompt_format == prompts.AUTO else options.prompt_format
        return preview.by_characters(
            dataset.items,
            prompts.get(name, Settings()),
            rows=options.rows,
            learn_all=options.train_on_prompt,
        )
    from lightkorllm.vocabulary import Vocabulary

    path, tokenizer = _tokenizer(options.model)
    encoder = Encoder(
        Vocabulary(tokenizer),
        prompts.for_model(path, tokenizer, name=options.prompt_format),
        length=options.max_length,
        learn_all=options.train_on_prompt,
    )
    return preview.by_tokens(dataset.items, encoder, rows=options.rows)


def _tokenizer(model: str) -> tuple[Path, Any]:
    from lightkorllm import embedded, hub, pretrained
    from lightkorllm.cli import _logging

    path = embedded.path() if model == "embedded" else hub.resolve_model(model)
    _logging.quiet_libraries()
    if path.suffix.lower() == ".gguf":
        sys.stderr.write(
            f"토크나이저를 읽습니다. 어휘가 크면 처음 한 번은 30초쯤 걸립니다: {path.name}\n"
        )
        return path, pretrained.load_gguf_tokenizer(path)
    return path, pretrained.load_tokenizer(path)
