"""The model's own chat template: what it gets, what it cannot take, and what is learned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lightkorllm import prompts
from lightkorllm.conversation import Conversation, Turn
from lightkorllm.errors import ModelBroken, OptionError, TemplateFailed
from lightkorllm.prompts.base import Piece, Prompt, PromptFormat, Settings

TEMPLATES = Path(__file__).parent / "templates"
TALK = (
    Conversation.ask("안녕?", system="짧게 답하세요.")
    .add("assistant", "네, 안녕하세요.")
    .add("user", "이름이 뭐예요?")
    .add("assistant", "라이트코입니다.")
)


def _template(source: str, *, bos: str = "", eos: str = "") -> PromptFormat:
    return prompts.get("template", Settings(chat_template=source, bos=bos, eos=eos))


def _file(name: str, *, bos: str = "", eos: str = "") -> PromptFormat:
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return _template(source, bos=bos, eos=eos)


def _learned(prompt: Prompt) -> list[str]:
    return [piece.text for piece in prompt.pieces if piece.learned]


@pytest.mark.parametrize("source", [None, ""])
def test_a_model_without_a_template_cannot_use_it(source: str | None) -> None:
    with pytest.raises(OptionError, match="이 모델에는 대화 템플릿이 없습니다"):
        prompts.get("template", Settings(chat_template=source))


@pytest.mark.parametrize(
    "source",
    [
        "{% for message in messages %}",
        "{{ messages[0]['content' }}",
        "{{ messages | 없는필터 }}",
        "{% generation %}끝이 없음",
        "{% for a in messages %}" * 30 + "{% endfor %}" * 30,  # Python allows twenty
        "{{ " + "(" * 20_000 + " }}",
    ],
)
def test_a_template_that_is_not_jinja_is_a_broken_model(source: str) -> None:
    with pytest.raises(ModelBroken, match="모델의 대화 템플릿을 읽을 수 없습니다"):
        _template(source)


@pytest.mark.parametrize("conversation", [TALK, TALK.add("user", "고마워요 👋🏽")])
def test_the_chatml_template_and_the_chatml_format_agree_piece_by_piece(
    conversation: Conversation,
) -> None:
    own = prompts.get("chatml", Settings()).render(conversation)
    models = _file("chatml", eos="<|im_end|>").render(conversation)

    assert models.text == own.text
    assert models.stop == own.stop
    assert _learned(models) == [text for text in _learned(own) if conversation == TALK]


def test_our_bounds_change_nothing_in_what_plain_jinja_writes() -> None:
    plain = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    source = """
{%- set ns = namespace(text='') %}
{%- for message in messages if message.role != 'system' %}
    {%- if loop.index0 == 3 %}{% break %}{% endif %}
    {%- set ns.text = ns.text ~ loop.revindex ~ loop.length ~ loop.first ~ (loop.nextitem.role) %}
    {{- message.content | trim | upper + '|' * 2 + '%s' % loop.last }}
{%- else %}아무도 없음
{%- endfor %}
{% set block | upper %}a{{ ns.text }}{% endset %}
{% macro said(text, times=2) %}<{{ text * times }}>{% endmacro %}
{{ said(block) }} {{ messages[::-1] | map(attribute='role') | join('/') }}
{% for nobody in missing %}x{% else %}빈 목록{% endfor %}
"""
    asked = Conversation(turns=TALK.turns).add("user", "고마워요")
    messages = [{"role": turn.role, "content": turn.text} for turn in asked.turns]

    naive = plain.from_string(source).render(messages=messages)

    assert _template(source).render(asked).text == naive


@pytest.mark.case("S18")
def test_a_system_text_without_a_place_goes_before_the_first_question() -> None:
    asked = Conversation.ask("안녕?", system="짧게 답하세요.")
    silent = (
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )

    assert (
        _file("gemma3")
        .render(asked)
        .text.startswith("<start_of_turn>user\n짧게 답하세요.\n\n안녕?<end_of_turn>")
    )
    assert _template(silent).render(asked).text == "<user>짧게 답하세요.\n\n안녕?"


@pytest.mark.case("S18")
def test_a_system_text_that_is_part_of_the_question_is_still_not_lost() -> None:
    silent = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"

    assert (
        _template(silent).render(Conversation.ask("안녕?", system="안녕")).text == "안녕\n\n안녕?"
    )


def test_a_system_text_that_only_shows_while_asking_is_folded_for_training_too() -> None:
    mistral = _file("mistral", bos="<s>", eos="</s>")

    assert _learned(mistral.render(TALK)) == [" 네, 안녕하세요.</s>", " 라이트코입니다.</s>"]
    assert mistral.render(TALK).text.startswith("<s>[INST] 짧게 답하세요.\n\n안녕? [/INST]")


@pytest.mark.case("S18")
def test_questions_in_a_row_are_joined_only_where_the_template_refuses_them() -> None:
    asked = Conversation.ask("하나").add("user", "둘")

    assert "하나\n\n둘<end_of_turn>" in _file("gemma3").render(asked).text
    assert "하나<|im_end|>\n<|im_start|>user\n둘<|im_end|>" in _file("chatml").render(asked).text


@pytest.mark.case("S18")
def test_a_greeting_is_refused_with_the_templates_own_reason() -> None:
    greeting = Conversation(turns=(Turn("assistant", "어서 오세요"), Turn("user", "네")))

    with pytest.raises(TemplateFailed) as refused:
        _file("gemma3").render(greeting)

    assert refused.value.param == "input"
    assert refused.value.problem == (
        "모델의 대화 템플릿이 이 대화를 거절했습니다: "
        "Conversation roles must alternate user/assistant/user/assistant/..."
    )


def test_a_greeting_before_a_learned_talk_costs_only_its_own_lesson() -> None:
    """Qwen's template looks at the first message, which there isn't before a greeting."""
    greeted = Conversation(turns=(Turn("assistant", "어서 오세요"), *TALK.turns[:2]))

    assert _learned(_file("qwen3").render(greeted)) == ["네, 안녕하세요.<|im_end|>"]


def test_answers_are_learned_with_their_end_marker_and_not_the_newline_behind() -> None:
    exaone = _file("exaone", eos="[|endofturn|]").render(TALK)
    gemma = _file("gemma3", bos="<bos>", eos="<eos>").render(TALK)

    assert _learned(exaone) == ["네, 안녕하세요.[|endofturn|]", "라이트코입니다.[|endofturn|]"]
    assert _learned(gemma) == ["네, 안녕하세요.<end_of_turn>", "라이트코입니다.<end_of_turn>"]
    assert gemma.pieces[-1] == Piece("\n")


def test_an_earlier_answer_that_is_rewritten_later_is_not_learned() -> None:
    prompt = _file("qwen3").render(TALK)

    assert _learned(prompt) == ["라이트코입니다.<|im_end|>"]
    assert prompt.text.count("<think>\n\n</think>\n\n") == 1


def test_where_the_answer_cannot_be_told_apart_only_training_is_refused() -> None:
    source = "{% for m in messages %}[{{ messages | length }}]{{ m.content }}{% endfor %}"

    assert _template(source).render(Conversation.ask("안녕?")).text == "[1]안녕?"
    with pytest.raises(TemplateFailed, match="학습할 답변만 골라낼 수 없습니다"):
        _template(source).render(TALK)


def test_answers_in_a_row_are_joined_where_the_template_could_not_teach_the_second() -> None:
    prompt = _file("qwen3").render(TALK.add("assistant", "반가워요."))

    assert _learned(prompt) == ["라이트코입니다.\n\n반가워요.<|im_end|>"]


def test_a_template_that_cannot_teach_keeps_its_own_place_for_the_system_text() -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ messages | length }}"
    )
    asked = Conversation.ask("안녕?", system="짧게")

    assert _template(source).render(asked).text == "<system>짧게<user>안녕?2"


def test_thinking_is_switched_off() -> None:
    prompt = _file("qwen3").render(Conversation.ask("안녕?"))

    assert prompt.text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.case("F07")
def test_bos_is_written_once_and_only_where_the_template_has_it() -> None:
    asked = TALK.add("user", "고마워요")

    assert (
        _file("llama3", bos="<|begin_of_text|>").render(asked).text.count("<|begin_of_text|>") == 1
    )
    assert "<s>" not in _file("chatml", bos="<s>").render(asked).text


@pytest.mark.parametrize(
    ("source", "eos", "stops"),
    [
        ("x<|im_end|>", "<|im_end|>", ("<|im_end|>",)),
        ("x<|eot_id|>", "<|end_of_text|>", ("<|end_of_text|>", "<|eot_id|>")),
        ("x<end_of_turn>", "<eos>", ("<eos>", "<end_of_turn>")),
        ("x[|endofturn|]", "", ("[|endofturn|]",)),
        ("x<turn|>", "", ("<turn|>",)),
        ("x{{ eos_token }}", "</s>", ("</s>",)),
        ("x<|im_end|><|endofturn|>", "<|endofturn|>", ("<|endofturn|>",)),
        ("x", "", ()),
    ],
)
def test_eos_and_the_end_markers_in_the_source_stop_an_answer(
    source: str, eos: str, stops: tuple[str, ...]
) -> None:
    assert _template(source, eos=eos).render(Conversation.ask("네?")).stop == stops


def test_templates_have_what_transformers_gives_them() -> None:
    source = (
        "{{ messages[0] | tojson }} {{ {'나': 1} | tojson(indent=2) }} {{ strftime_now('%Y') }}"
        "{% if tools is none and documents is none %} 도구 없음{% endif %}"
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}"
        "{% endfor %}{% if not custom %} 덤 없음{% endif %}"
    )

    text = _template(source).render(Conversation.ask("가<나>'다'")).text

    expected = (
        r'\{"role": "user", "content": "가<나>\'다\'"\} \{\n  "나": 1\n\} \d{4}'
        r" 도구 없음가<나>'다' 덤 없음"
    )
    assert re.fullmatch(expected, text)


def test_what_users_write_is_never_run_as_a_template() -> None:
    text = "{{ 7 * 7 }}{% raw %}"

    assert text in _file("chatml").render(Conversation.ask(text, system=text)).text
