"""Every prompt format there is, and the model's own template in six shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm import prompts
from lightkorllm.prompts.base import PromptFormat, Settings

TEMPLATES = Path(__file__).parent / "templates"
SPECIAL_TOKENS = {  # of the tokenizers that such templates come with
    "chatml": ("", "<|im_end|>"),
    "exaone": ("[BOS]", "[|endofturn|]"),
    "gemma3": ("<bos>", "<eos>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"),
    "qwen3": ("", "<|im_end|>"),
}
PLAIN = tuple(name for name in prompts.names() if name != "template")
EVERY = (*PLAIN, *(f"template/{name}" for name in SPECIAL_TOKENS))


def _build(format_id: str) -> PromptFormat:
    name, _, template = format_id.partition("/")
    if not template:
        return prompts.get(name, Settings())
    bos, eos = SPECIAL_TOKENS[template]
    source = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    return prompts.get(name, Settings(chat_template=source, bos=bos, eos=eos))


@pytest.fixture(scope="session", params=EVERY)
def format_id(request: pytest.FixtureRequest) -> str:
    """The name of a format, `template/gemma3` for a template."""
    return str(request.param)


@pytest.fixture(scope="session")
def prompt_format(format_id: str) -> PromptFormat:
    return _build(format_id)


@pytest.fixture(scope="session", params=PLAIN)
def plain_format(request: pytest.FixtureRequest) -> PromptFormat:
    """A format with a text of its own."""
    return _build(request.param)
