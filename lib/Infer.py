"""The original's Python call: `Infer(...).text_gen(data, type)`, over this package."""

from __future__ import annotations

from typing import Any

from lightkorllm.chat import ChatModel, default_params, open_chat
from lightkorllm.generation import Reply
from lightkorllm.options import ChatOptions
from lightkorllm.server import wire


class Infer:
    """`model` is a `ChatModel`, a path as for `--model`, or None for the embedded model.

    `tokenizer` is taken for the sake of old calls and not looked at: models bring their own.
    """

    def __init__(
        self,
        model: ChatModel | str | None = None,
        tokenizer: object = None,
        max_new_tokens: int = 256,
        early_stopping: bool = False,
        max_history: int = 0,
        num_beams: int = 1,
        human_str: str = "### 사용자",
        ai_str: str = "### AI",
        stop_str: str = "### 사용자",
        device: str = "auto",
    ) -> None:
        options = ChatOptions(
            quantized_model_dir=model if isinstance(model, str) else None,
            device=device,
            max_new_token=max_new_tokens,
            num_beams=num_beams,
            early_stopping=early_stopping,
            max_history=max_history,
            human_str=human_str,
            ai_str=ai_str,
            stop_str=stop_str,
        )
        self._defaults = default_params(options)
        self._labels = wire.Labels(human=human_str, ai=ai_str)
        self.model = model if isinstance(model, ChatModel) else open_chat(options)

    def text_gen(self, data: dict[str, Any], type: str) -> tuple[str, dict[str, Any]]:
        """The answer to a body of `/inferweb` (`type` "infer") or `/chatweb` ("chat").

        Returns the text and the new history. Raises `BadRequest` for a wrong body.
        """
        body = wire.check_body(wire.ChatBody if type == "chat" else wire.InferBody, data)
        params = wire.params_from(body, self._defaults)
        question = self.model.prepare(wire.conversation_from(body, self._labels), params)
        reply = Reply.join(self.model.stream(question))
        answer = wire.answer_to(body, reply, self._labels, dropped=question.dropped)
        return answer["result"], answer["history"]
