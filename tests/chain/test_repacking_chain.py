"""Real GPTQ checkpoints in llama.cpp: unchanged weights, equal tokens, agreeing answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightkorllm import checkpoint, pretrained, repacking
from lightkorllm.repacking.weights import mapped
from repacking import texts
from repacking.gguf_file import GgufFile, native_name, paired_rows
from repacking.native import ENDED, Native

pytestmark = pytest.mark.chain

QUESTIONS = [
    "What is the capital of France?", "What is the capital of Korea?", "Count from one to ten.",
    "List the days of the week.", "What color is the sky?", "What is 2 + 3?", "Say hello.",
    "Write the first five letters of the alphabet.", "Name three fruits.", "What do bees make?",
    "Who wrote Romeo and Juliet?", "What is the largest planet?", "Name the four seasons.",
    "How many legs does a spider have?", "Translate 'good morning' into French.",
    "What is the opposite of hot?", "Write a Python function that adds two numbers.",
    "What is water made of?", "How many minutes are in an hour?", "Which animal says meow?",
]  # fmt: skip
BEGINNINGS = [
    "The capital of Korea is", "Once upon a time there was a small cat who", "Water boils at",
    "def fibonacci(n):\n    if n < 2:", "The three primary colors are", "In 1492, Columbus",
    "To make a cup of tea, you should", "Python is a programming language that",
    "The largest planet in the solar system is", "Dear Mr. Kim,\n\nThank you for",
    "한국의 수도는", "대한민국의 역사는", "김치찌개를 끓이는 방법:\n1.", "물은 100도에서",
    "봄이 오면 사람들은", "인공지능이란", "세종대왕이 한글을 만든 까닭은",
    "### 사용자:\n가장 높은 산은 무엇인가요?\n\n### AI:\n", "서울에서 부산까지 가는 방법은",
    "오늘 저녁에 먹을 만한 음식은",
]  # fmt: skip
PROMPTS = {"smol": QUESTIONS, "gemma": BEGINNINGS}  # one answers, the other goes on


@dataclass(frozen=True)
class Repacking:
    """A GPTQ folder, the GGUF made of it, and how many heads its paired rows have."""

    name: str
    folder: Path
    made: repacking.Repacked


@pytest.fixture(scope="module", params=list(PROMPTS))
def repacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Repacking:
    folder = request.getfixturevalue(f"{request.param}_gptq")
    target = tmp_path_factory.mktemp("repacked") / f"{request.param}.gguf"
    return Repacking(request.param, folder, repacking.to_gguf(folder, target))


@pytest.fixture(scope="module")
def native(repacked: Repacking) -> Iterator[Native]:
    with Native(repacked.made.path) as running:
        yield running


def test_not_one_weight_is_changed(repacked: Repacking) -> None:
    found, file = checkpoint.read(repacked.folder), GgufFile(repacked.made.path)
    assert repacked.made.changed == 0.0
    for layer in found.quantised_layers():
        wanted = _unpacked(found, layer)
        if found.model_type == "llama" and layer.endswith(("q_proj", "k_proj")):
            key = "num_attention_heads" if layer.endswith("q_proj") else "num_key_value_heads"
            wanted = paired_rows(wanted, found.config[key])
        assert np.abs(file.numbers(native_name(layer)) - wanted).max() == 0.0


def _unpacked(found: checkpoint.Checkpoint, layer: str) -> Any:
    """A 4-bit layer's weights [out, in]: nibble by nibble, down the columns."""
    parts = {name: mapped(found.tensors[f"{layer}.{name}"]) for name in _PARTS}
    words, outof = parts["qweight"].shape
    codes = np.empty((words * 8, outof), np.int32)
    zeros = np.empty((len(parts["qzeros"]), outof), np.int32)
    for place in range(8):
        codes[place::8] = parts["qweight"] >> 4 * place & 15
        zeros[:, place::8] = (parts["qzeros"] >> 4 * place & 15) + 1
    at = parts["g_idx"]
    scales = parts["scales"].astype(np.float32)
    return (scales[at] * (codes - zeros[at]).astype(np.float32)).T


_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def test_a_thousand_lines_become_the_same_tokens(repacked: Repacking, native: Native) -> None:
    tokenizer = pretrained.load_tokenizer(repacked.folder)
    lines = texts.HARD + texts.korean(1000)
    assert [line for line in lines if native.tokens(line) != tokenizer(line)["input_ids"]] == []


def test_llama_cpp_and_transformers_agree_on_greedy_answers(
    repacked: Repacking, native: Native
) -> None:
    """Teacher-forced over transformers' own answers; the rest is llama.cpp's 8-bit arithmetic."""
    model, tokenizer = _reference(repacked.folder), pretrained.load_tokenizer(repacked.folder)
    same = total = 0
    for prompt in PROMPTS[repacked.name]:
        asked = tokenizer(_rendered(tokenizer, prompt), return_tensors="pt")["input_ids"]
        answer = model.generate(asked, max_new_tokens=24, do_sample=False, pad_token_id=0)[0]
        got = native.next_tokens(answer.tolist(), first=asked.shape[1])
        got = [tokenizer.eos_token_id if token == ENDED else token for token in got]
        same += sum(a == b for a, b in zip(got, answer.tolist()[asked.shape[1] :], strict=True))
        total += len(got)
    assert total > 200
    assert same >= 0.95 * total, f"{same} of {total}"


def _rendered(tokenizer: Any, prompt: str) -> str:
    if not tokenizer.chat_template:
        return prompt
    asked = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))


def _reference(folder: Path) -> Any:
    """transformers in float32 over the checkpoint's own weights, free of any kernel's rounding."""
    import torch
    import transformers

    found = checkpoint.read(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    settings = transformers.AutoConfig.for_model(**config)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_config(settings, dtype=torch.float32)
    state = {
        f"{layer}.weight": torch.from_numpy(_unpacked(found, layer).copy())
        for layer in found.quantised_layers()
    }
    for file in found.weights:
        state |= _plain_tensors(file)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (set(missing) <= {"lm_head.weight"}, unexpected) == (True, [])
    model.tie_weights()
    return model.eval()


def _plain_tensors(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors = load_file(file)
    return {name: data for name, data in tensors.items() if not name.endswith(_PARTS)}
