"""`POST /inferweb` and `POST /chatweb`: the original's routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, request

from lightkorllm.chat import Question
from lightkorllm.errors import Unsupported
from lightkorllm.generation import Reply, SamplingParams, TokenChunk
from lightkorllm.server import sse, wire
from lightkorllm.server.answering import answer
from lightkorllm.server.guard import Guard
from lightkorllm.server.loading import ModelHolder


def blueprint(
    holder: ModelHolder, guard: Guard, *, labels: wire.Labels, defaults: SamplingParams
) -> Blueprint:
    routes = Blueprint("legacy", __name__)

    @routes.post("/inferweb")
    def inferweb() -> Response:
        return _answer(wire.read_body(wire.InferBody, request.get_data()))

    @routes.post("/chatweb")
    def chatweb() -> Response:
        return _answer(wire.read_body(wire.ChatBody, request.get_data()))

    def _answer(body: wire.InferBody) -> Response:
        params = wire.params_from(body, defaults)
        if body.stream and (body.num_beams or 1) > 1:  # the server's default may: all at the end
            raise Unsupported("num_beams", "빔 탐색은 스트리밍과 함께 쓸 수 없습니다")
        conversation = wire.conversation_from(body, labels)
        model = holder.model
        question = model.prepare(conversation, params, adapter=body.adapter)
        return answer(
            model.stream(question),
            guard,
            stream=bool(body.stream),
            events=lambda chunks: _events(chunks, body, question),
            whole=lambda chunks: _whole(Reply.join(chunks), body, question),
        )

    def _events(
        chunks: Iterator[TokenChunk], body: wire.InferBody, question: Question
    ) -> Iterator[str | None]:
        seen: list[TokenChunk] = []
        for chunk in chunks:
            seen.append(chunk)
            yield sse.event({"delta": chunk.text}) if chunk.text else None
        yield sse.event(_whole(Reply.join(seen), body, question))

    def _whole(reply: Reply, body: wire.InferBody, question: Question) -> dict[str, Any]:
        return wire.answer_to(body, reply, labels, dropped=question.dropped)

    return routes
