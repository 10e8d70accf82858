"""Fitting a conversation into the context, and cutting its answer."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import lightkorllm
from lightkorllm import record
from lightkorllm.chat import _format, default_params, open_chat
from lightkorllm.conversation import Conversation
from lightkorllm.engines.echo import EchoEngine, endless
from lightkorllm.errors import BadRequest, ContextOverflow, OptionError
from lightkorllm.generation import SamplingParams
from lightkorllm.options import ChatOptions
from live import chat_on

PARAMS = SamplingParams(max_tokens=64)


def _talk(exchanges: int, size: int = 10) -> Conversation:
    talk = Conversation("지시")
    for number in range(exchanges):
        talk = talk.add("user", f"{number:03}" + "가" * size).add("assistant", "나" * size)
    return talk.add("user", "마지막 질문")


@pytest.mark.case("S30", "K22")
@pytest.mark.parametrize("exchanges", [0, 1, 2, 5, 17, 64, 200])
@pytest.mark.parametrize("context", [256, 512, 1024, 65536])
def test_as_many_exchanges_as_fit_stay_and_the_newest_are_kept(
    exchanges: int, context: int
) -> None:
    engine = EchoEngine(context_length=context)
    model, talk = chat_on(engine), _talk(exchanges)
    question = model.prepare(talk, PARAMS)
    budget = context - PARAMS.max_tokens

    def size(dropped: int) -> int:
        return engine.count_tokens(model.prompt_format.render(talk.without_oldest(dropped)).text)

    naive = next(n for n in range(exchanges + 1) if size(n) <= budget or n == exchanges)
    assert question.dropped == naive
    assert question.prompt_tokens == size(naive)
    assert question.prompt.text.startswith("지시\n\n")
    assert "마지막 질문" in question.prompt.text


def test_counting_stays_cheap_for_long_histories() -> None:
    engine, counted = EchoEngine(context_length=1024), []
    count = engine.count_tokens
    engine.count_tokens = lambda text: counted.append(text) or count(text)  # type: ignore[method-assign,func-returns-value]
    chat_on(engine).prepare(_talk(1000), PARAMS)
    assert len(counted) <= 13


def test_max_new_token_is_lowered_to_what_is_left() -> None:
    model = chat_on(EchoEngine(context_length=200))
    question = model.prepare(Conversation.ask("가" * 50), SamplingParams(max_tokens=500))
    assert question.params.max_tokens == 200 - question.prompt_tokens


def test_a_question_that_alone_is_too_long_names_both_numbers() -> None:
    model = chat_on(EchoEngine(context_length=100))
    with pytest.raises(ContextOverflow) as refused:
        model.prepare(_talk(3, size=100).add("user", "가" * 100), PARAMS)
    assert refused.value.context_length == 100
    assert refused.value.prompt_tokens > 300


def test_a_conversation_that_does_not_end_with_the_user_is_refused() -> None:
    model = chat_on(EchoEngine())
    for talk in (Conversation(), _talk(1).add("assistant", "네")):
        with pytest.raises(BadRequest):
            model.prepare(talk, PARAMS)


@pytest.mark.parametrize(("limit", "dropped"), [(0, 0), (1, 4), (5, 0), (9, 0)])
def test_max_history_bounds_past_exchanges(limit: int, dropped: int) -> None:
    model = chat_on(EchoEngine(), max_history=limit)
    assert model.prepare(_talk(5), PARAMS).dropped == dropped


@pytest.mark.case("S06")
def test_a_stop_string_ends_the_work_at_once() -> None:
    engine = EchoEngine(endless("네.\n### 사용자: "))
    reply = chat_on(engine).reply(Conversation.ask("네?"), PARAMS)
    assert (reply.text, reply.finish_reason) == ("네.", "stop")
    assert engine.steps_played == 1
    assert engine.slots.busy == 0


def test_closing_the_stream_frees_the_slot() -> None:
    engine = EchoEngine(endless("네 "))
    model = chat_on(engine)
    with closing(model.stream(model.prepare(Conversation.ask("네?"), PARAMS))) as stream:
        next(stream)
        assert engine.slots.busy == 1
    assert engine.slots.busy == 0


def test_the_format_is_the_records_then_the_templates_then_lightkor() -> None:
    plain, own = EchoEngine(), EchoEngine(chat_template="{{ messages[0].content }}")
    assert _format(ChatOptions(), plain).name == "lightkor"
    assert _format(ChatOptions(), own).name == "template"
    assert _format(ChatOptions(prompt_format="eeve"), own).name == "eeve"


@pytest.mark.model
def test_the_record_beside_a_model_names_its_format(tmp_path: Path, embedded_gguf: Path) -> None:
    model = tmp_path / "모델.gguf"
    model.symlink_to(embedded_gguf)
    record.write(record.Record(prompt_format="koalpaca"), model)
    options = ChatOptions(quantized_model_dir=str(model), context_length=256, n_parallel=1)
    with closing(open_chat(options)) as chat:
        assert chat.prompt_format.name == "koalpaca"


def test_a_template_that_is_not_there_closes_the_engine_again() -> None:
    with pytest.raises(OptionError, match="템플릿"):
        open_chat(ChatOptions(quantized_model_dir="echo", prompt_format="template"))


def test_the_python_api_answers() -> None:
    with closing(lightkorllm.load("echo", max_history=3)) as chat:
        assert chat.reply(Conversation.ask("안녕?"), default_params(ChatOptions())).text
