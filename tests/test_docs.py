"""What the documentation says is what the code does, in Korean and in English alike."""

from __future__ import annotations

import contextlib
import io
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import manual
from client import call
from lightkorllm import catalog, cli, prompts
from lightkorllm.conversation import Conversation
from lightkorllm.data.options import DataOptions
from lightkorllm.errors import BadRequest, JobError, LightKorError, SetupError
from lightkorllm.evaluation.options import EvaluateOptions
from lightkorllm.finetuning.options import FinetuneOptions
from lightkorllm.fitting.options import FitOptions, ModelsOptions
from lightkorllm.generation import Reply, SamplingParams, Usage
from lightkorllm.merging import MergeOptions
from lightkorllm.options import ENV_PREFIX, ChatOptions, ServeOptions
from lightkorllm.prompts.base import Settings
from lightkorllm.quantization.options import QuantizeOptions
from lightkorllm.repacking.options import ExportOptions
from lightkorllm.server import faults, wire
from lightkorllm.terminal import commands
from lightkorllm.terminal.options import TerminalOptions
from live import Serve

PAGES = ("adapters.md", "api.md", "chat.md", "colab.md", "data.md", "deploy.md", "engines.md",
         "evaluate.md", "export.md", "extending.md", "finetune.md", "how.md", "models.md",
         "moving.md", "openai.md", "operations.md", "options.md", "page.md", "prompts.md",
         "quantize.md", "security.md", "start.md", "trouble.md")  # fmt: skip
JOBS = {
    "adapters.md": MergeOptions,
    "chat.md": TerminalOptions,
    "data.md": DataOptions,
    "evaluate.md": EvaluateOptions,
    "export.md": ExportOptions,
    "finetune.md": FinetuneOptions,
    "models.md": FitOptions,
    "quantize.md": QuantizeOptions,
}
MARKDOWN = [
    path
    for folder in (manual.ROOT, manual.EXAMPLES, manual.DOCS["ko"], manual.DOCS["en"])
    for path in sorted(folder.glob("*.md"))
]
NONE = {"ko": "없음", "en": "none"}
BODIES = {"inferweb": wire.InferBody, "chatweb": wire.ChatBody}
HTTP_STATUS = {"not_found": 404, "method_not_allowed": 405}  # Flask's own, the rest is in faults

language = pytest.mark.parametrize("language", ["ko", "en"])


def _default(value: object, language: str) -> str:
    if value is None or value == ():
        return NONE[language]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


@language
@pytest.mark.parametrize("field", fields(ServeOptions), ids=lambda field: str(field.name))
def test_every_option_is_told_with_its_flag_variable_key_and_default(
    field: Any, language: str
) -> None:
    flags, variable, key, default, meaning = manual.row(
        manual.page("options.md", language), f"--{field.name}"
    )

    assert field.default is not MISSING
    assert variable == f"`{ENV_PREFIX}{field.name.upper()}`"
    assert key == ("–" if field.name == "config" else f"`{field.name}`")
    assert default == _default(field.default, language)
    assert meaning
    for alias in _aliases(field.name):
        assert f"`{alias}`" in flags


def _aliases(name: str) -> list[str]:
    hint = get_type_hints(ServeOptions, include_extras=True)[name]
    found = [getattr(extra, "aliases", None) or () for extra in getattr(hint, "__metadata__", ())]
    return [alias for aliases in found for alias in aliases]


@language
@pytest.mark.parametrize("page", JOBS)
def test_every_option_of_a_job_is_told_with_its_default(page: str, language: str) -> None:
    text, kind = manual.page(page, language), JOBS[page]
    shared = fields(ChatOptions) if issubclass(kind, ChatOptions) else ()  # told in options.md
    elsewhere = {field.name: field.default for field in shared}
    for field in fields(kind):
        if field.name in elsewhere and field.default == elsewhere[field.name]:
            continue
        positional = "Positional" in str(field.type)
        name = "A" if field.name in "ab" else field.name.upper()
        _, default, meaning = manual.row(text, name if positional else f"--{field.name}")
        assert default == _default(None if field.default == "" else field.default, language)
        assert meaning


@language
@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.english)
def test_every_command_of_a_conversation_is_told(command: commands.Command, language: str) -> None:
    (row,) = (
        cells
        for cells in manual.rows(manual.page("chat.md", language))
        if re.match(rf"`/{command.korean}[ `]", cells[0])
    )
    assert row[1] == f"`/{command.english}`"
    assert row[2]


@language
@pytest.mark.parametrize("field", fields(ModelsOptions), ids=lambda field: str(field.name))
def test_every_option_of_models_is_told_with_its_default(field: Any, language: str) -> None:
    _, default, meaning = manual.row(manual.page("models.md", language), f"--{field.name}")
    assert default == _default(field.default, language)
    assert meaning


@language
def test_every_model_of_the_catalogue_is_told_and_no_other(language: str) -> None:
    rows = [cells for cells in manual.rows(manual.page("models.md", language)) if len(cells) == 5]
    told = [(cells[0], cells[1]) for cells in rows if "/" in cells[1]]
    known = [(f"`{entry.name}`", f"`{entry.repository}`") for entry in catalog.entries()]
    assert told == known
    first = manual.read(manual.README[language]).partition("| `")[2]
    assert first.startswith(catalog.entries()[0].name)


@language
def test_no_option_is_told_that_does_not_exist(language: str) -> None:
    told = re.findall(rf"`{ENV_PREFIX}(\w+)`", manual.page("options.md", language))

    assert sorted(set(told)) == sorted(field.name.upper() for field in fields(ServeOptions))


@language
@pytest.mark.parametrize("kind", ["ngrok", "cloudflare"])
def test_every_kind_of_tunnel_is_told_with_its_start(kind: str, language: str) -> None:
    page = manual.page("operations.md", language)
    assert manual.row(page, kind)[1]
    assert f"--tunnel {kind}" in page
    assert ServeOptions(tunnel=kind).tunnel_kind == kind  # type: ignore[arg-type]


@language
@pytest.mark.parametrize("kind", list(manual.error_classes()), ids=lambda kind: str(kind.code))
def test_every_error_is_told_with_its_status(kind: type[LightKorError], language: str) -> None:
    code, status, meaning = manual.row(manual.page("api.md", language), kind.code)

    expected = HTTP_STATUS.get(kind.code) or faults.status(kind.__new__(kind))
    assert code == f"`{kind.code}`"
    exit_code = "2" if issubclass(kind, SetupError) else "1" if issubclass(kind, JobError) else ""
    assert status == (exit_code or str(expected))
    assert meaning


@pytest.mark.parametrize(
    ("path", "code"), [("/nowhere", "not_found"), ("/chatweb", "method_not_allowed")]
)
def test_flask_gives_the_statuses_that_faults_does_not(serve: Serve, path: str, code: str) -> None:
    answer = call(serve().port, path)

    assert answer.error["code"] == code
    assert answer.status == HTTP_STATUS[code]


@language
@pytest.mark.parametrize("name", wire.ChatBody.model_fields)
def test_every_request_field_is_told_with_its_default(name: str, language: str) -> None:
    default = manual.row(manual.page("api.md", language), name)[2]

    known = {field.name: field.default for field in fields(SamplingParams)}
    known["max_new_token"] = ServeOptions.max_new_token
    if name in known:
        assert default == _default(known[name], language)


@language
def test_json_examples_are_valid_json(language: str) -> None:
    texts = [manual.read(manual.README[language]), *(manual.page(name, language) for name in PAGES)]
    examples = [
        block for text in texts for block in manual.blocks(text) if block.info[:4] == "json"
    ]

    assert examples
    for example in examples:
        json.loads(example.text)


@language
def test_the_documented_requests_are_taken_and_answered_as_documented(language: str) -> None:
    blocks = manual.blocks(manual.page("api.md", language))
    pairs = list(zip(blocks, [*blocks[1:], manual.Block("", "")], strict=True))
    requests = [
        (asked, told) for asked, told in pairs if asked.info.removeprefix("json ") in BODIES
    ]

    assert len(requests) == 4
    for asked, told in requests:
        body = wire.check_body(BODIES[asked.info.removeprefix("json ")], json.loads(asked.text))
        wire.conversation_from(body, wire.Labels())
        answer = _last_event(told.text) if body.stream else json.loads(told.text)
        assert answer == _answer(body, answer)


def _answer(body: wire.InferBody, told: dict[str, Any]) -> dict[str, Any]:
    """What the server sends for a body when the model says what the example has it say."""
    usage = {name: told["usage"][name] for name in (f.name for f in fields(Usage))}
    reply = Reply(told["result"], told["finish_reason"], Usage(**usage))
    return wire.answer_to(body, reply, wire.Labels(), dropped=told.get("dropped_exchanges", 0))


def _last_event(stream: str) -> Any:
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["result"]
    return events[-1]


@language
def test_the_documented_wrong_request_is_refused_as_documented(language: str) -> None:
    page = manual.page("api.md", language)
    body = wire.check_body(wire.ChatBody, json.loads(manual.block(page, "json chatweb-refused")))

    with pytest.raises(BadRequest) as refused:
        wire.conversation_from(body, wire.Labels())

    assert faults.body(refused.value) == json.loads(manual.block(page, "json error"))


@language
@pytest.mark.parametrize("name", prompts.names())
def test_every_prompt_format_is_told_with_its_stop_strings(name: str, language: str) -> None:
    page = manual.page("prompts.md", language)
    (entry,) = re.findall(rf"^- \*\*`{name}`\*\*(.*?)(?=^- |^\n)", page, re.MULTILINE | re.DOTALL)

    if name != "template":  # its stop strings are the model's
        prompt = prompts.get(name, Settings()).render(Conversation.ask("…"))
        assert all(f"`{stop}`" in entry for stop in prompt.stop)
        shape = re.findall(r"`([^`]*…[^`]*)`", entry)[0].replace("⏎", "\n")
        assert prompt.text.endswith(shape)


@language
def test_the_echo_example_prints_what_the_page_shows(language: str) -> None:
    page = manual.page("engines.md", language)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(manual.block(page, "python echo"), {})

    assert printed.getvalue() == manual.block(page, "text echo")


@language
def test_the_data_command_writes_what_the_page_shows(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = manual.page("data.md", language)
    (tmp_path / "상담.csv").write_text(manual.block(page, "csv shop"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert cli.main(["data", "상담.csv", "--rows", "1"]) == 0
    assert capsys.readouterr().out == manual.block(page, "text shop")


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(manual.ROOT)))
def test_python_examples_are_python(path: Path) -> None:
    for block in manual.blocks(manual.read(path)):
        if block.info.split()[0] == "python":
            compile(block.text, str(path), "exec")


def _headings(text: str) -> list[int]:
    without_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", without_code, re.MULTILINE)]


def _commands(text: str) -> list[manual.Block]:
    """The blocks that need no translation."""
    return [
        block
        for block in manual.blocks(text)
        if not block.text.startswith("Authorization") and block.info != "mermaid"
    ]


@pytest.mark.parametrize("name", ["README", *PAGES])
def test_the_two_languages_have_the_same_shape_and_the_same_blocks(name: str) -> None:
    korean, english = (
        manual.read(manual.README[tongue]) if name == "README" else manual.page(name, tongue)
        for tongue in manual.DOCS
    )

    assert _headings(korean) == _headings(english)
    assert _commands(korean) == _commands(english)
    assert len(list(manual.rows(korean))) == len(list(manual.rows(english)))


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", manual.read(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(manual.ROOT)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", manual.read(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file) if file else path
        assert place.exists(), target
        assert not anchor or anchor in _anchors(place), target
