"""A folder that GPTQModel wrote becomes complete in itself and free of this machine's traces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from lightkorllm import checkpoint
from lightkorllm.checkpoint import Checkpoint
from lightkorllm.evaluation import Subject

_DROPPED = ("quant_log.csv", "gptq_log*")
PACKAGES = ("lightkorllm", "gptqmodel", "torch", "transformers", "tokenizers", "safetensors")
_PROBES = ("대한민국의 수도는", "오늘 점심으로")


def tidy(folder: Path, source: Checkpoint) -> None:
    """Put the original's small files in, take scratch files and local paths out, narrow floats."""
    for pattern in _DROPPED:
        for file in folder.glob(pattern):
            file.unlink()
    checkpoint.carry_over(source.folder, folder)
    _without_paths(folder / "quantize_config.json")
    _without_paths(folder / "config.json")
    _narrow(folder, source)


def _without_paths(file: Path) -> None:
    values = checkpoint.read_json(file)
    settings = values.get("quantization_config", values)
    meta = settings.get("meta")
    if isinstance(meta, dict):
        for key in [key for key in meta if "path" in key or "device" in key]:
            del meta[key]
    if values:
        values.pop("_name_or_path", None)
        file.write_text(json.dumps(values, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _narrow(folder: Path, source: Checkpoint) -> None:
    """What was widened to float32 for the computation goes back to the width it had.

    A source in float32 goes to bfloat16, which holds its whole range.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    dtypes = {"F16": torch.float16}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as data:
            metadata = data.metadata()
            tensors = {name: data.get_tensor(name) for name in data.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            if tensor.dtype == torch.float32:
                was = source.tensors.get(name)
                tensors[name] = tensor.to(dtypes.get(was.dtype if was else "", torch.bfloat16))
        save_file(tensors, file, metadata=metadata)
        file.chmod(0o644)  # the library leaves it for our eyes only
    dtype = "float16" if any(t.dtype == "F16" for t in source.tensors.values()) else "bfloat16"
    config = checkpoint.read_json(folder / "config.json")
    (config.get("text_config") or config)["dtype"] = dtype
    config["dtype"] = dtype
    config.pop("torch_dtype", None)
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def sameness(subject: Subject, *, tokens: int = 24) -> float:
    """The share of the most frequent token in short greedy answers; near 1 is a broken model."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))  # token by token, a busy core stalls all others
    try:
        answers = [_greedy(subject, probe, tokens) for probe in _PROBES]
    finally:
        torch.set_num_threads(threads)
    shares = [
        int(answer.bincount().max()) / len(answer)
        for answer in answers
        if len(answer) >= tokens // 2
    ]
    return min(shares, default=0.0)


def _greedy(subject: Subject, probe: str, tokens: int) -> Any:
    import torch

    ids = torch.tensor([subject.tokenizer(probe)["input_ids"]]).to(subject.model.device)
    with torch.inference_mode():
        answer = subject.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=subject.tokenizer.pad_token_id,
        )
    return answer[0, ids.shape[1] :].cpu()


def card(name: str, *, base: str, settings: Mapping[str, Any], table: str, licence: str) -> str:
    """The model card, Korean, with an English line: what it is, how to run it, what was lost."""
    template = Template((Path(__file__).parent / "model_card.md").read_text(encoding="utf-8"))
    return template.substitute(
        name=name,
        base=base,
        bits=settings["bits"],
        licence=f"license: {licence}\n" if licence else "",
        table=table or "재지 않았습니다.",
        settings="\n".join(f"| {key} | {value} |" for key, value in settings.items()),
    )
