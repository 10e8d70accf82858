"""`/v1/chat/completions`, `/v1/completions`, `/v1/models`: for clients that speak OpenAI's API."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from flask import Blueprint, Response, jsonify, request

from lightkorllm.chat import ChatModel, Question
from lightkorllm.errors import BadRequest, ContextOverflow, NoSuchModel
from lightkorllm.generation import MAX_SEED, NO_ADAPTER, Reply, SamplingParams, TokenChunk
from lightkorllm.server import openai_wire as wire
from lightkorllm.server import sse
from lightkorllm.server.answering import answer
from lightkorllm.server.envelope import Envelope
from lightkorllm.server.guard import Guard
from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.wire import read_body


def blueprint(holder: ModelHolder, guard: Guard, *, defaults: SamplingParams) -> Blueprint:
    routes = Blueprint("openai", __name__, url_prefix="/v1")

    @routes.get("/models")
    def models() -> Response:
        model = holder.model
        return jsonify(object="list", data=[_entry(model, name) for name in _names(model)])

    @routes.get("/models/<path:name>")
    def model(name: str) -> Response:
        served = holder.model
        _adapter(served, name)
        return jsonify(_entry(served, name))

    @routes.post("/chat/completions")
    def chat_completions() -> Response:
        body = read_body(wire.ChatCompletionBody, request.get_data())
        params = wire.params_from(body, defaults)
        conversation = wire.conversation_from(body.messages)
        model = holder.model
        adapter = _adapter(model, body.model)
        try:
            question = model.prepare(conversation, params, adapter=adapter)
        except BadRequest as error:
            raise _under("messages", error) from None
        except ContextOverflow as error:
            error.param = "messages"
            raise
        return _answer(body, [question] * wire.choices_of(body), chat=True)

    @routes.post("/completions")
    def completions() -> Response:
        body = read_body(wire.CompletionBody, request.get_data())
        params = wire.params_from(body, defaults)
        model = holder.model
        adapter = _adapter(model, body.model)
        texts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        if not texts or len(texts) * wire.choices_of(body) > wire.MOST_CHOICES:
            raise BadRequest("prompt", f"글 1~{wire.MOST_CHOICES}개를 주세요")
        try:
            questions = [model.prepare_text(text, params, adapter=adapter) for text in texts]
        except ContextOverflow as error:
            error.param = "prompt"
            raise
        questions = [each for each in questions for _ in range(wire.choices_of(body))]
        return _answer(body, questions, chat=False)

    def _answer(body: wire.GenerateBody, questions: list[Question], *, chat: bool) -> Response:
        model = holder.model
        envelope = Envelope.new(body.model or _names(model)[0], chat=chat)
        return answer(
            _all(model, questions),
            guard,
            stream=bool(body.stream),
            events=lambda chunks: _events(chunks, envelope, body),
            whole=lambda chunks: envelope.whole(_replies(chunks)),
        )

    def _events(
        chunks: Iterator[TokenChunk], envelope: Envelope, body: wire.GenerateBody
    ) -> Iterator[str | None]:
        replies: list[Reply] = []
        seen: list[TokenChunk] = []
        for chunk in chunks:
            number = len(replies)
            if not seen and envelope.chat:
                yield sse.event(envelope.opening(number))
            seen.append(chunk)
            shown = chunk.text or chunk.logprobs
            yield sse.event(envelope.piece(number, chunk)) if shown else None
            if chunk.finish_reason is not None:
                replies.append(Reply.join(seen))
                yield sse.event(envelope.ending(number, replies[-1]))
                seen = []
        if body.stream_options and body.stream_options.include_usage:
            yield sse.event(envelope.usage(replies))
        yield sse.DONE

    return routes


def _all(model: ChatModel, questions: Sequence[Question]) -> Generator[TokenChunk, None, None]:
    """The answers one after the other; each ends with the chunk that has a `finish_reason`."""
    for number, question in enumerate(questions):
        seed = question.params.seed
        if seed is not None:  # the same seed would give the same answer again
            params = replace(question.params, seed=(seed + number) % (MAX_SEED + 1))
            question = replace(question, params=params)
        with closing(model.stream(question)) as chunks:
            yield from chunks


def _replies(chunks: Iterator[TokenChunk]) -> list[Reply]:
    replies: list[Reply] = []
    seen: list[TokenChunk] = []
    for chunk in chunks:
        seen.append(chunk)
        if chunk.finish_reason is not None:
            replies.append(Reply.join(seen))
            seen = []
    return replies


def _names(model: ChatModel) -> tuple[str, ...]:
    """The model's name and its adapters', first the one that answers who names none."""
    base, can = model.engine.info.name, model.engine.capabilities
    first = can.default_adapter or base
    return (first, *(name for name in (base, *can.adapters) if name != first))


def _entry(model: ChatModel, name: str) -> dict[str, object]:
    """A model as OpenAI lists it, with what vLLM adds: its context and an adapter's `parent`."""
    info = model.engine.info
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "lightkorllm",
        "parent": None if name == info.name else info.name,
        "max_model_len": info.context_length,
    }


def _adapter(model: ChatModel, name: str | None) -> str | None:
    """What to ask the engine for where `model` is `name`. Raises `NoSuchModel`."""
    names = _names(model)
    if not name:
        return None
    if name not in names:
        raise NoSuchModel(name[:80], known=names)
    return NO_ADAPTER if name == model.engine.info.name else name


def _under(param: str, error: BadRequest) -> BadRequest:
    """The same error under the name that this route has for `input`."""
    if error.param != "input":
        return error
    return type(error)(param, error.problem)
