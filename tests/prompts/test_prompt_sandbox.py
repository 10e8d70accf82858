"""A hostile chat template fails: it neither reaches Python's insides nor runs away."""

from __future__ import annotations

from time import thread_time

import pytest

from lightkorllm import prompts
from lightkorllm.conversation import Conversation
from lightkorllm.errors import TemplateFailed
from lightkorllm.prompts.base import Settings

ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__['os'] }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ self._TemplateReference__context.parent }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '/etc/passwd' %}",
]
NOTHING = [
    "{{ ''.__class__ }}",
    "{{ ''|attr('__class__') }}",
    "{{ (''|attr('__class__'))|attr('__mro__') }}",
    "{{ strftime_now.__self__.__class__ }}",
    "{{ '{0.__class__}'.format('') }}",
]
FAULTS = [
    "{{ 1 / 0 }}",
    "{{ missing.attribute.deeper }}",
    "{{ 'a' + 1 }}",
    "{{ messages[99].content.strip() }}",
    "{{ {}.pop() }}",
    "{{ raise_exception('싫어요') }}",
    "{% for m in 7 %}{% endfor %}",
    "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
]
GREEDY = [
    "{{ 'a' * 5000000 }}",
    "{{ 99999999999999 * 'a' }}",
    "{{ [0] * 99999999999999 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ range(100000000) | list }}",
    "{% set x = 'a' * 4000000 %}{{ x }}{{ x }}",
    "{% set x = 'a' * 4000000 %}{% set x = x ~ x %}",
    "{% set x = 'a' * 4000000 %}{% set x = x + x %}",
    "{% set x = 'a' * 4000000 %}{% set x = [x, x] | join %}",
    "{% set x = 'a' * 4000000 %}{% set y %}{{ x }}{{ x }}{% endset %}",
    "{% set x = 'a' * 4000000 %}{% set x = x.replace('a', 'aa') %}",
    "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set x = twice('a' * 4000000) %}",
    "{% filter upper %}{{ 'a' * 4000000 }}{{ 'a' * 4000000 }}{% endfilter %}",
]
ENDLESS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% set x = range(100000) | list %}"
    "{% for a in x %}{% for b in x %}{{ b }}{% break %}{% endfor %}"
    "{% for b in x %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set ns = namespace(n=3) %}{% for a in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
]


def _render(source: str) -> str:
    template = prompts.get("template", Settings(chat_template=source))
    return template.render(Conversation.ask("안녕?")).text


@pytest.mark.parametrize("source", ESCAPES)
def test_there_is_no_way_out(source: str) -> None:
    with pytest.raises(TemplateFailed):
        _render(source)


@pytest.mark.parametrize("source", NOTHING)
def test_a_forbidden_attribute_is_nothing_at_all(source: str) -> None:
    assert _render(source) == ""


@pytest.mark.parametrize("source", FAULTS)
def test_a_fault_of_the_template_is_its_refusal(source: str) -> None:
    with pytest.raises(TemplateFailed, match=r"모델의 대화 템플릿이 이 대화를 거절했습니다: .+"):
        _render(source)


@pytest.mark.parametrize("source", GREEDY)
def test_nothing_huge_is_made(source: str) -> None:
    with pytest.raises(TemplateFailed, match=r"너무 큽니다|거듭제곱|Range too big"):
        _render(source)


@pytest.mark.parametrize("source", ENDLESS)
def test_nothing_runs_for_long(source: str) -> None:
    started = thread_time()

    with pytest.raises(TemplateFailed, match="너무 오래 걸립니다"):
        _render(source)

    assert thread_time() - started < 10


def test_a_long_reason_is_cut() -> None:
    with pytest.raises(TemplateFailed) as refused:
        _render("{{ raise_exception('가' * 100000) }}")

    assert len(refused.value.problem) < 400


def test_nothing_runs_before_there_is_something_to_render() -> None:
    started = thread_time()

    prompts.get("template", Settings(chat_template="{{ 'a' * 10**12 | center(10**9) }}"))

    assert thread_time() - started < 1


def test_a_thousand_turns_are_far_from_the_bounds() -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{{ loop.last }}{% endfor %}"
    )
    template = prompts.get("template", Settings(chat_template=source))
    conversation = Conversation.ask("안녕?" * 100)
    for _ in range(500):
        conversation = conversation.add("assistant", "네, " * 300).add("user", "그리고?")
    started = thread_time()

    assert len(template.render(conversation).text) > 400_000

    assert thread_time() - started < 0.5
