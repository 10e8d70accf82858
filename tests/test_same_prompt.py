"""One conversation becomes the same token ids wherever it is asked, as in training."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import checkpoints
import lightkorllm
from client import call
from lightkorllm import pretrained, prompts, repacking
from lightkorllm.chat import ChatModel
from lightkorllm.conversation import Conversation
from lightkorllm.engines.base import Capabilities, Engine, ModelInfo
from lightkorllm.engines.llamacpp import LlamaCppEngine
from lightkorllm.generation import GenerationRequest, SamplingParams, TokenChunk
from lightkorllm.prompts.base import Settings
from lightkorllm.vocabulary import Vocabulary
from live import Serve

SYSTEM = "당신은 친절한 한국어 도우미입니다."
TALK = (
    Conversation(SYSTEM)
    .add("user", "안녕? </s>라고 쓰면 어떻게 돼?")
    .add("assistant", "네, 안녕하세요!")
    .add("user", "뷁은 무슨 뜻이야?\n두 줄로 ‘짧게’ 말해 줘 🙂")
)


class Noting(Engine):
    """An engine that notes the prompts of another one, which answers."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.slots = inner.slots
        self.prompts: list[str] = []
        self.counted: list[int] = []

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

    def _generate(self, request: GenerationRequest) -> Generator[TokenChunk, None, None]:
        self.prompts.append(request.prompt)
        for chunk in self.inner._generate(request):
            if chunk.finish_reason:
                self.counted.append(chunk.prompt_tokens)
            yield chunk

    def close(self) -> None:
        self.inner.close()


def _asked_everywhere(chat: ChatModel, serve: Serve, *, adapter: str | None = None) -> Noting:
    """Ask as the terminal does, at our routes and at OpenAI's."""
    engine = Noting(chat.engine)
    model = engine.info.name if adapter == "none" else adapter
    chat.engine = engine
    try:
        params = SamplingParams(max_tokens=1, temperature=0)
        chat.reply(TALK, params, adapter=adapter)
        port = serve(chat=chat).port
        said = [(turn.role, turn.text) for turn in TALK.turns]
        messages = [{"role": role, "content": text} for role, text in said]
        labels = {"user": "### 사용자", "assistant": "### AI"}
        history = [{"type": labels[role], "str": text} for role, text in said[:-1]]
        for path, body in (
            ("/chatweb", {
                "instruction": {"command": SYSTEM}, "input": said[-1][1], "max_new_token": 1,
                "history": {"history": history}, "adapter": adapter, "temperature": 0,
            }),
            ("/v1/chat/completions", {
                "messages": [{"role": "system", "content": SYSTEM}, *messages],
                "max_tokens": 1, "model": model, "temperature": 0,
            }),
        ):  # fmt: skip
            assert call(port, path, body).status == 200
        chat.reply(Conversation(SYSTEM).add("user", said[-1][1]), params, adapter=adapter)
        one = {"instruction": {"command": SYSTEM}, "input": said[-1][1], "max_new_token": 1}
        assert call(port, "/inferweb", {**one, "adapter": adapter}).status == 200
    finally:
        chat.engine = engine.inner
    return engine


def _native_ids(engine: Engine, text: str) -> list[int]:
    """Ids as llama.cpp makes them of the prompt that our engine sends."""
    assert isinstance(engine, LlamaCppEngine)
    asked = {"content": engine._with_one_bos(text), "add_special": True, "parse_special": True}
    request = urllib.request.Request(
        f"{engine._child.url}/tokenize",
        json.dumps(asked).encode(),
        {"Authorization": f"Bearer {engine._key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [int(number) for number in json.load(answer)["tokens"]]


FORMATS = {"말투": "koalpaca", "반말": "chatml", "기록 없음": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a record, and adapters of different formats beside it."""
    folder = checkpoints.speaker(tmp_path_factory.mktemp("models") / "바탕")
    for name, recorded in FORMATS.items():
        checkpoints.speaking(
            folder, folder.with_name(name), "네 알겠습니다", prompt_format=recorded
        )
    return folder


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def chat(request: pytest.FixtureRequest, folder: Path) -> Iterator[ChatModel]:
    model = folder
    if request.param == "llamacpp":
        model = folder.with_name("바탕.gguf")
        repacking.to_gguf(folder, model, overwrite=True)
        for name in FORMATS:
            target = folder.with_name(name) / "adapter.gguf"
            repacking.adapter_to_gguf(folder.with_name(name), target, base=model, overwrite=True)
    first, *others = FORMATS
    chat = lightkorllm.load(
        str(model),
        peft_lora_dir=(str(folder.with_name(first)), *(
            f"{name}={folder.with_name(name)}" for name in others
        )),
        engine=request.param, device="cpu", threads=1, n_parallel=1, context_length=512,
    )  # fmt: skip
    yield chat
    chat.close()


@pytest.mark.case("F22")
@pytest.mark.parametrize("adapter", [None, *FORMATS, "none"])
def test_every_way_of_asking_gives_the_ids_of_training(
    chat: ChatModel, folder: Path, serve: Serve, adapter: str | None
) -> None:
    wanted = FORMATS.get("말투" if adapter is None else adapter) or "lightkor"
    vocabulary = Vocabulary(pretrained.load_tokenizer(folder))
    rendered = prompts.get(wanted, Settings(bos="<s>", eos="</s>"))
    talk = vocabulary.encode(rendered.render(TALK).text)
    asked = _asked_everywhere(chat, serve, adapter=adapter)
    assert len(asked.prompts) == len(asked.counted) == 5
    for prompt, tokens in zip(asked.prompts[:3], asked.counted[:3], strict=True):
        ids = vocabulary.encode(prompt)
        if isinstance(chat.engine, LlamaCppEngine):
            ids = _native_ids(chat.engine, prompt)
        assert ids == talk
        assert tokens == len(talk)
    assert talk.count(1) == 1
    assert len(set(asked.prompts[3:])) == 1


@pytest.mark.model
@pytest.mark.case("F22")
def test_the_embedded_model_gets_the_ids_of_training_everywhere(
    embedded_gguf: Path, serve: Serve
) -> None:
    vocabulary = Vocabulary(pretrained.load_gguf_tokenizer(embedded_gguf))
    with closing(
        lightkorllm.load(peft_lora_dir=("none",), n_parallel=1, context_length=512)
    ) as chat:
        asked = _asked_everywhere(chat, serve)
        talk = vocabulary.encode(chat.prompt_format.render(TALK).text)
        for prompt, tokens in zip(asked.prompts[:3], asked.counted[:3], strict=True):
            assert _native_ids(chat.engine, prompt) == talk
            assert tokens == len(talk)
        assert len(set(asked.prompts[3:])) == 1


def test_a_format_given_by_hand_is_that_of_every_adapter(folder: Path) -> None:
    adapters = tuple(f"{name}={folder.with_name(name)}" for name in FORMATS)
    with closing(
        lightkorllm.load(
            str(folder), peft_lora_dir=adapters, engine="transformers", device="cpu",
            prompt_format="eeve",
        )
    ) as chat:  # fmt: skip
        for name in (None, *FORMATS, "none"):
            assert chat.format_of(name).name == "eeve"
