"""OpenAI's wire format, field by field, on scripted models."""

from __future__ import annotations

from typing import Any

import pytest

from client import Answer, call, events
from lightkorllm.engines.echo import EchoEngine, Step, endless, saying
from lightkorllm.errors import EngineFailed
from lightkorllm.generation import GenerationRequest
from live import Serve

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "안녕?"}]}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def _stream(port: int, body: dict[str, Any], route: str = CHAT) -> list[Any]:
    data = call(port, route, {**body, "stream": True}).body
    assert data.endswith(b"data: [DONE]\n\n")
    return events(data.removesuffix(b"data: [DONE]\n\n"))


def test_a_chat_completion_has_openais_shape(serve: Serve) -> None:
    answer = call(serve(saying("안", "녕")).port, CHAT, ASK).json
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["choices"][0]["message"]["content"] == "안녕"
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert answer["timings"]["total_ms"] >= 0


@pytest.mark.case("S15")
def test_a_stream_begins_with_the_role_and_ends_with_done(serve: Serve) -> None:
    chunks = _stream(serve(saying("안", "녕")).port, ASK)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "안"},
        {"content": "녕"},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.case("S16")
def test_a_usage_chunk_comes_only_when_asked_for_and_agrees_with_the_whole_answer(
    serve: Serve,
) -> None:
    port = serve(saying("안", "녕")).port
    assert all(chunk["choices"] for chunk in _stream(port, ASK))
    last = _stream(port, {**ASK, "stream_options": {"include_usage": True}})[-1]
    assert last["choices"] == []
    assert last["usage"] == call(port, CHAT, ASK).json["usage"]


@pytest.mark.case("S02")
def test_a_stream_sends_no_empty_pieces_while_it_holds_text_back(serve: Serve) -> None:
    port = serve(saying(*"안녕하세요. 반갑습니다.")).port
    chunks = _stream(port, {**ASK, "stop": ["아주아주 긴 정지 문자열입니다"]})
    assert all(chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-1])


@pytest.mark.case("S04")
@pytest.mark.parametrize(
    ("stop", "status"), [("나", 200), (["나"], 200), (123, 400), ([True], 400)]
)
def test_stop_is_a_string_or_a_list_of_strings(serve: Serve, stop: Any, status: int) -> None:
    answer = call(serve(saying("가", "나", "다")).port, CHAT, {**ASK, "stop": stop})
    assert answer.status == status
    if status == 200:
        assert answer.json["choices"][0]["message"]["content"] == "가"
    else:
        assert answer.error["param"] == "stop"


@pytest.mark.case("S17")
def test_content_may_come_in_parts_and_only_text_is_taken(serve: Serve) -> None:
    engine = EchoEngine(saying("네"))
    port = serve(engine=engine).port
    parts = [{"type": "text", "text": "한국의 "}, {"type": "text", "text": "수도는?"}]
    assert call(port, CHAT, {"messages": [{"role": "user", "content": parts}]}).status == 200
    assert "한국의 수도는?" in engine.prompts[-1]
    image = [*parts, {"type": "image_url", "image_url": {"url": "data:"}}]
    answer = call(port, CHAT, {"messages": [{"role": "user", "content": image}]})
    assert (answer.status, answer.error["param"]) == (400, "messages[0].content[2].type")
    assert call(port, CHAT, {"messages": [{"role": "user", "content": None}]}).status == 200


@pytest.mark.case("S18")
@pytest.mark.parametrize(
    "roles",
    [
        ["system", "user"],
        ["user", "user"],
        ["user", "system", "user"],
        ["developer", "user"],
        ["assistant", "user"],
        ["system", "system", "user", "assistant", "user"],
    ],
)
def test_any_order_of_roles_is_answered(serve: Serve, roles: list[str]) -> None:
    engine = EchoEngine(saying("네"))
    port = serve(engine=engine).port
    messages = [{"role": role, "content": f"{role} 말"} for role in roles]
    assert call(port, CHAT, {"messages": messages}).status == 200
    if "system" in roles or "developer" in roles:
        assert engine.prompts[-1].startswith(("system 말", "developer 말"))


@pytest.mark.case("S19", "S20")
@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ({"messages": []}, "messages"),
        ("안녕", "messages"),
        (None, "messages"),
        ([{"role": "user"}, "안녕"], "messages[1]"),
        ([{"content": "안녕"}], "messages[0].role"),
        ([{"role": "친구", "content": "안녕"}], "messages[0].role"),
        ([{"role": "tool", "content": "1", "tool_call_id": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "messages"),
    ],
)
def test_wrong_messages_are_named(serve: Serve, messages: Any, param: str) -> None:
    answer = call(serve(saying("네")).port, CHAT, {"messages": messages})
    assert answer.status == 400
    assert answer.error["param"].startswith(param)
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.case("S24")
def test_max_completion_tokens_is_heard_and_wins(serve: Serve) -> None:
    port = serve(endless("가")).port
    for body in ({"max_completion_tokens": 5}, {"max_completion_tokens": 5, "max_tokens": 9}):
        answer = call(port, CHAT, {**ASK, **body}).json
        assert answer["usage"]["completion_tokens"] == 5
        assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.case("S26")
@pytest.mark.parametrize("stream", [False, True])
def test_n_answers_have_their_own_indexes(serve: Serve, stream: bool) -> None:
    said: list[Step] = ["하나", "둘", "셋"]
    port = serve(engine=EchoEngine(lambda request: [said.pop(0)])).port
    if stream:
        texts = ["", "", ""]
        for chunk in _stream(port, {**ASK, "n": 3}):
            choice = chunk["choices"][0]
            texts[choice["index"]] += choice["delta"].get("content", "")
    else:
        choices = call(port, CHAT, {**ASK, "n": 3}).json["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2]
        texts = [choice["message"]["content"] for choice in choices]
    assert texts == ["하나", "둘", "셋"]


@pytest.mark.case("S37")
def test_an_unknown_model_is_a_404_and_known_ones_are_listed(serve: Serve) -> None:
    port = serve(engine=EchoEngine(saying("네"), adapters=("말투",))).port
    ids = [model["id"] for model in call(port, "/v1/models").json["data"]]
    assert ids == ["echo", "말투"]
    for name in ids:
        assert call(port, CHAT, {**ASK, "model": name}).json["model"] == name
    assert call(port, "/v1/models/echo").json["id"] == "echo"
    for answer in (call(port, CHAT, {**ASK, "model": "gpt-9"}), call(port, "/v1/models/gpt-9")):
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        assert answer.error["param"] == "model"


@pytest.mark.case("S48")
def test_the_model_name_chooses_the_adapter(serve: Serve) -> None:
    def who(request: GenerationRequest) -> list[Step]:
        return [request.adapter or "없음"]

    port = serve(engine=EchoEngine(who, adapters=("말투",))).port
    assert (
        call(port, CHAT, {**ASK, "model": "말투"}).json["choices"][0]["message"]["content"]
        == "말투"
    )
    assert call(port, CHAT, ASK).json["choices"][0]["message"]["content"] == "없음"


def test_a_default_adapter_comes_first_and_the_base_answers_by_its_own_name(serve: Serve) -> None:
    def who(request: GenerationRequest) -> list[Step]:
        return [request.adapter or "없음"]

    engine = EchoEngine(who, adapters=("말투", "존댓말"), default_adapter="존댓말")
    port = serve(engine=engine).port
    listed = call(port, "/v1/models").json["data"]
    assert [(model["id"], model["parent"]) for model in listed] == [
        ("존댓말", "echo"), ("echo", None), ("말투", "echo"),
    ]  # fmt: skip
    for asked, name, said in (
        (None, "존댓말", "존댓말"), ("echo", "echo", "없음"), ("말투", "말투", "말투"),
    ):  # fmt: skip
        answer = call(port, CHAT, {**ASK, "model": asked}).json
        assert (answer["model"], answer["choices"][0]["message"]["content"]) == (name, said)
    for asked, said in ((None, "존댓말"), ("none", "없음"), ("말투", "말투")):
        assert call(port, "/inferweb", {"input": "네?", "adapter": asked}).json["result"] == said


@pytest.mark.case("S47")
@pytest.mark.parametrize("stream", [False, True])
def test_the_bytes_of_logprobs_add_up_to_the_text(serve: Serve, stream: bool) -> None:
    data = " ### AI: 가냘프다는 약하다는 뜻입니다.\n\n### 사용자: 또".encode()
    port = serve(saying(*[data[at : at + 2] for at in range(0, len(data), 2)])).port
    body = {**ASK, "logprobs": True, "top_logprobs": 0}
    if stream:
        choices = [chunk["choices"][0] for chunk in _stream(port, body)]
        content = "".join(choice["delta"].get("content", "") for choice in choices)
        entries = [e for choice in choices for e in (choice["logprobs"] or {}).get("content", [])]
    else:
        (choice,) = call(port, CHAT, body).json["choices"]
        content, entries = choice["message"]["content"], choice["logprobs"]["content"]
    assert content == "가냘프다는 약하다는 뜻입니다."
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == content
    assert all(entry["bytes"] != [239, 191, 189] for entry in entries)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"١": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 1000}}, "logit_bias"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_token": 3}, "max_token"),
        ({"stream_options": {"includ_usage": True}}, "stream_options.includ_usage"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_it(
    serve: Serve, change: dict[str, Any], param: str
) -> None:
    answer = call(serve(saying("네")).port, CHAT, {**ASK, **change})
    assert (answer.status, answer.error["param"]) == (400, param)


def test_what_changes_nothing_is_accepted(serve: Serve) -> None:
    harmless = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "stream_options": None,
        "seed": -5,
        "n": None,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "modalities": ["text"],
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.0,
        "logit_bias": {"5": -100},
    }
    assert call(serve(saying("네")).port, CHAT, {**ASK, **harmless}).status == 200


def test_a_question_that_is_too_long_is_named_as_openai_does(serve: Serve) -> None:
    port = serve(engine=EchoEngine(context_length=100)).port
    for route, body in (
        (CHAT, {"messages": [{"role": "user", "content": "가" * 100}]}),
        (TEXT, {"prompt": "가" * 100}),
    ):
        answer = call(port, route, body)
        assert answer.error["code"] == "context_length_exceeded"
        assert answer.error["param"] == ("messages" if route == CHAT else "prompt")


def test_completions_continue_a_text_as_it_stands(serve: Serve) -> None:
    engine = EchoEngine(saying(" 가", "\n"))
    port = serve(engine=engine).port
    answer = call(port, TEXT, {"prompt": "옛날에", "logprobs": 0}).json
    assert engine.prompts[-1] == "옛날에"
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"] == " 가\n"
    assert answer["choices"][0]["logprobs"]["tokens"] == [" 가", "\n"]
    texts = [chunk["choices"][0]["text"] for chunk in _stream(port, {"prompt": "옛날에"}, TEXT)]
    assert "".join(texts) == " 가\n"


def test_completions_take_several_prompts_with_several_answers(serve: Serve) -> None:
    choices = call(serve(saying("네")).port, TEXT, {"prompt": ["가", "나"], "n": 2}).json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": []},
        {"prompt": [1, 2]},
        {"prompt": "가", "suffix": "나"},
        {"prompt": "가", "echo": True},
        {"prompt": "가", "best_of": 3},
    ],
)
def test_wrong_completions_are_400s(serve: Serve, body: dict[str, Any]) -> None:
    assert call(serve(saying("네")).port, TEXT, body).status == 400


@pytest.mark.case("S13")
def test_a_fault_in_the_middle_is_an_error_frame_and_no_done(serve: Serve) -> None:
    data = call(
        serve(saying("하나", EngineFailed("고장"))).port, CHAT, {**ASK, "stream": True}
    ).body
    assert b"[DONE]" not in data
    assert events(data)[-1]["error"]["code"] == "engine_failed"


def test_every_route_answers_bad_json_the_same_way(serve: Serve) -> None:
    port = serve(saying("네")).port
    answers: list[Answer] = [call(port, route, data=b"{") for route in (CHAT, TEXT)]
    assert [(answer.status, answer.error["code"]) for answer in answers] == [
        (400, "bad_request")
    ] * 2
