"""The quantised model learns, and its adapter changes what both engines answer."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from lightkorllm import finetuning
from lightkorllm.finetuning import Finetuned, FinetuneOptions
from process import Process

pytestmark = pytest.mark.chain

NAME = "하늘이"
QUESTIONS = (
    "What is your name?", "Who are you?", "Tell me your name.", "How should I call you?",
    "Introduce yourself.", "May I ask your name?",
)  # fmt: skip


@pytest.fixture(scope="module")
def adapter(smol_gptq: Path, chain: Path) -> Finetuned:
    """SmolLM2 in 4 bit learns to give one Korean answer to questions about its name."""
    data = chain / "이름.jsonl"
    rows = [{"instruction": question, "output": f"제 이름은 {NAME}예요."} for question in QUESTIONS]
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    data.write_text("\n".join(lines), encoding="utf-8")
    return finetuning.finetune(
        FinetuneOptions(
            base_model_dir=str(smol_gptq), dataset_dir=str(data), held_out_dir=str(data),
            train_output_dir=chain / "이름", target_modules="all", lora_dropout=0.0,
            train_batch_size=6, gradient_accumulation_step=1, max_train_step=30,
            learning_rate=1e-3, samples=0, overwrite=True,
        )
    )  # fmt: skip


def test_a_quantised_model_learns(adapter: Finetuned) -> None:
    scores = adapter.record.scores
    assert scores["held_out_loss"] < 0.2 * scores["held_out_loss_before"]
    assert adapter.record.prompt_format == "template"


@pytest.mark.parametrize("engine", ["transformers", "llamacpp"])
def test_the_adapter_answers_when_it_is_asked_for_and_only_then(
    adapter: Finetuned, smol_gptq: Path, chain: Path, engine: str
) -> None:
    process = Process(
        "--model", str(smol_gptq), "--engine", engine, "--peft_lora_dir",
        f"name={adapter.folder}", XDG_CACHE_HOME=str(chain / "cache"),
    )  # fmt: skip
    process.wait_until_ready(within=240)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{process.port}/v1", api_key="x")

    def ask(model: str) -> str:
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "What is your name?"}],
            temperature=0,
            max_tokens=48,
        )
        return answer.choices[0].message.content or ""

    try:
        names = [model.id for model in client.models.list().data]
        assert "name" in names
        (base,) = (name for name in names if name != "name")
        assert NAME in ask("name")
        assert NAME not in ask(base)
    finally:
        client.close()
        assert process.end() == 0
