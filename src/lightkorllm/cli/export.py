"""모델이나 LoRA 어댑터를 llama.cpp가 읽는 GGUF 파일로 옮깁니다."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run(argv: Sequence[str], *, prog: str) -> None:
    """Convert, and tell what became of the weights."""
    from lightkorllm.errors import OptionError
    from lightkorllm.options import load
    from lightkorllm.repacking.options import ExportOptions

    options = load(ExportOptions, argv, prog=prog)
    if not options.model:
        raise OptionError("MODEL", f"옮길 폴더를 주세요: {prog} 폴더")

    from lightkorllm import hub, repacking
    from lightkorllm.cli import _logging

    _logging.to_stderr("warning", style="plain")
    folder = hub.resolve_model(options.model)
    target = options.output or Path(f"{folder.resolve().name}.gguf")
    if repacking.is_adapter(folder):
        base = hub.resolve_model(options.base or repacking.base_of(folder))
        done = repacking.adapter_to_gguf(folder, target, base=base, overwrite=options.overwrite)
        print(*done.notes, f"다 되었습니다: {done.path}", sep="\n")
        print(f"써 보기: lightkorllm serve --model 모델.gguf --peft_lora_dir 이름={done.path}")
        return
    done = repacking.to_gguf(
        folder, target,
        kind=options.type, embedding=options.embedding, overwrite=options.overwrite,
    )  # fmt: skip
    print(*done.notes, f"다 되었습니다: {done.path}", sep="\n")
    print(f"써 보기: lightkorllm serve --model {done.path}")
