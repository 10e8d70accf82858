"""Which format a model is spoken to in, where nobody says: its record, its template, ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lightkorllm import prompts, record
from lightkorllm.conversation import Conversation
from lightkorllm.errors import OptionError
from lightkorllm.record import Record

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.role }}|{{ m.content }}\n{% endfor %}"


def tokenizer(chat_template: object = None) -> SimpleNamespace:
    return SimpleNamespace(chat_template=chat_template, bos_token="<s>", eos_token=None)


def test_the_record_beside_a_model_comes_before_its_template(tmp_path: Path) -> None:
    record.write(Record(prompt_format="koalpaca"), tmp_path)
    assert prompts.for_model(tmp_path, tokenizer(TEMPLATE)).name == "koalpaca"


def test_the_models_own_template_comes_before_ours(tmp_path: Path) -> None:
    found = prompts.for_model(tmp_path, tokenizer(TEMPLATE))
    assert found.render(Conversation.ask("안녕?")).text == "<s>user|안녕?\n"


@pytest.mark.parametrize("template", [None, "", [{"name": "default", "template": TEMPLATE}]])
def test_without_both_it_is_ours(tmp_path: Path, template: object) -> None:
    assert prompts.for_model(tmp_path, tokenizer(template)).name == "lightkor"


def test_a_format_asked_for_by_name_is_taken_whatever_the_model_says(tmp_path: Path) -> None:
    record.write(Record(prompt_format="koalpaca"), tmp_path)
    assert prompts.for_model(tmp_path, tokenizer(TEMPLATE), name="eeve").name == "eeve"
    with pytest.raises(OptionError, match="koalpaca"):
        prompts.for_model(tmp_path, tokenizer(), name="없는 형식")


def test_a_gguf_file_has_its_record_under_its_own_name(tmp_path: Path) -> None:
    record.write(Record(prompt_format="chatml"), tmp_path / "모델.gguf")
    assert prompts.for_model(tmp_path / "모델.gguf", tokenizer()).name == "chatml"
