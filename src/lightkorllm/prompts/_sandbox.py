"""Runs a model's own Jinja template where it can fail, but not reach out or run away.

A template comes with the model's files, so it is data from strangers. Jinja's sandbox keeps it
from Python's insides; here are bounds for the rest: CPU time, the length of the output and the
size of every value on the way. What remains: one call of one filter or string method that asks
for something huge by itself (such as `center(10**9)`) is refused only once it has been made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from time import thread_time
from typing import Any

from jinja2 import Template, TemplateError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from lightkorllm.errors import ModelBroken, TemplateFailed

MOST_CHARACTERS = 4 * 1024 * 1024
MOST_SECONDS = 1.0  # of this thread's CPU; a thousand turns need a few hundredths

_BUDGET = "budget of this rendering"  # not an identifier: no template can name it

_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TemplateError,
    TypeError,
    ValueError,
)


def compile_template(source: str) -> Template:
    """A template ready to run any number of times. Raises `ModelBroken` where it isn't one."""
    try:
        return _ENVIRONMENT.from_string(source)
    except _FAULTS as error:
        raise ModelBroken(f"모델의 대화 템플릿을 읽을 수 없습니다: {_reason(error)}") from error


def run(template: Template, variables: Mapping[str, object]) -> str:
    """What the template writes. Raises `TemplateFailed` with its own reason, or with ours."""
    budget = _Budget()
    parts: list[str] = []
    try:
        for part in template.generate({**variables, _BUDGET: budget}):
            budget.write(part)
            parts.append(part)
    except _FAULTS as error:
        problem = f"모델의 대화 템플릿이 이 대화를 거절했습니다: {_reason(error)}"
        raise TemplateFailed("input", problem) from error
    return "".join(parts)


def _reason(error: BaseException) -> str:
    reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return reason[:300]


class _Budget:
    """What one rendering may use."""

    def __init__(self) -> None:
        self._end = thread_time() + MOST_SECONDS
        self._written = 0

    def write(self, text: str) -> None:
        self._written += len(text)
        self.check(self._written)

    def check(self, size: int = 0) -> None:
        if size > MOST_CHARACTERS:
            raise SecurityError(f"템플릿이 만드는 값이 너무 큽니다(한도 {MOST_CHARACTERS:,}자)")
        if thread_time() > self._end:
            raise SecurityError(f"템플릿이 너무 오래 걸립니다(한도 {MOST_SECONDS:g}초)")


def _budget(context: Context) -> _Budget:
    budget: _Budget = context.parent[_BUDGET]
    return budget


def _size(value: object) -> int:
    return len(value) if isinstance(value, Sized) else 0


@pass_context
def _timed(context: Context, items: Iterable[object]) -> Iterator[object]:
    budget = _budget(context)
    for item in items:
        budget.check()
        yield item


@pass_context
def _bounded(context: Context, value: object) -> object:
    _budget(context).check(_size(value))
    return value


class _Guard(NodeTransformer):
    """Sends each loop through `_timed`, and what filters, `~` and set blocks make through
    `_bounded`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (Jinja's name)
        self.generic_visit(node)
        node.iter = _through("timed", node.iter)
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.filter = _through("bounded", node.filter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        return _through("bounded", self.generic_visit(node))

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        return _through("bounded", self.generic_visit(node))


def _through(name: str, node: nodes.Node | None) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks answers for transformers; the text stays."""

    tags = {"generation"}  # noqa: RUF012 (Jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja as transformers sets it up for chat templates, with our bounds."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            optimized=False,  # nothing of the template runs before there is a budget
        )
        self.filters.update(tojson=_to_json, timed=_timed, bounded=_bounded)
        self.globals["raise_exception"] = _raise_exception

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,
    ) -> str:
        guarded = _Guard().visit(source)
        return super()._generate(guarded, name, filename, defer_init=defer_init)

    def call(self, context: Context, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        _budget(context).check()
        result = super().call(context, function, *args, **kwargs)
        return _bounded(context, result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("템플릿에서 거듭제곱은 쓸 수 없습니다")
        if operator == "*":
            _budget(context).check(_repeated(left, right))
        return _bounded(context, super().call_binop(context, operator, left, right))


def _repeated(left: object, right: object) -> int:
    """How long `left * right` gets where one of them is a text or list."""
    if isinstance(left, int):
        left, right = right, left
    return _size(left) * right if isinstance(right, int) else 0


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON for a prompt, not for a web page: nothing is escaped that JSON doesn't ask for."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


_ENVIRONMENT = _Environment()
