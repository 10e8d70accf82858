"""The original's Python call keeps working."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import checkpoints
import tiny
from lightkorllm import record
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.errors import BadRequest
from live import chat_on


def _infer(**options: Any) -> Any:
    path = Path(__file__).parents[1] / "lib" / "Infer.py"
    spec = importlib.util.spec_from_file_location("Infer", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Infer(model=chat_on(EchoEngine(saying("네", "."))), **options)


DATA = {"instruction": {"command": "친절하게"}, "input": "안녕?"}


def test_infer_returns_the_text_and_its_exchange() -> None:
    text, history = _infer().text_gen(data=DATA, type="infer")
    assert text == "네."
    assert history == {
        "history": [{"type": "### 사용자", "str": "안녕?"}, {"type": "### AI", "str": "네."}]
    }


def test_chat_returns_the_whole_history_with_its_count() -> None:
    infer = _infer(max_new_tokens=8, human_str="### 손님", ai_str="### 점원")
    _, history = infer.text_gen({**DATA, "history": {"count": 0, "history": []}}, "chat")
    _, history = infer.text_gen({**DATA, "history": history}, "chat")
    assert history["count"] == 2
    assert [entry["type"] for entry in history["history"]] == ["### 손님", "### 점원"] * 2


def test_a_wrong_body_is_refused_by_field() -> None:
    with pytest.raises(BadRequest, match="input"):
        _infer().text_gen({"instruction": None}, "infer")


def test_the_originals_quantising_script_is_the_command(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "script" / "local" / "AutoGPTQ_quantization.py"
    flags = ["--pretrained_model_dir", "없는-모델", "--quantized_model_dir", str(tmp_path / "out")]
    ran = subprocess.run(
        [sys.executable, str(script), *flags, "--bits", "4", "--group_size", "128"],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "없는-모델" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_originals_fine_tuning_script_takes_all_its_flags_to_the_end(tmp_path: Path) -> None:
    base = checkpoints.gptq(tiny.llama(tmp_path / "원본"), tmp_path / "원본-4bit")
    (tmp_path / "상담.csv").write_bytes("질문,답변\n배송은요?,이틀이면 옵니다.\n".encode("cp949"))
    script = Path(__file__).parents[1] / "script" / "local" / "peft_lora_train.py"
    flags = (
        f"--base_model_dir {base} --dataset_dir 상담.csv --lora_alpha 32 --lora_dropout 0.05 "
        "--bias none --lora_rank 8 --train_batch_size 1 --gradient_accumulation_step 4 "
        "--train_warmup_steps 2 --max_train_step 10 --learning_rate 2e-4 "
        "--train_output_dir outputs --train_optimizer paged_adamw_8bit"
    )
    ran = subprocess.run(
        [sys.executable, str(script), *flags.split()],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = record.read(tmp_path / "outputs")
    assert told is not None
    made = {name: told.settings[name] for name in ("steps", "rank", "alpha", "rows_per_step")}
    assert made == {"steps": 10, "rank": 8, "alpha": 32, "rows_per_step": 4}
    assert (tmp_path / "outputs" / "adapter_model.safetensors").is_file()
