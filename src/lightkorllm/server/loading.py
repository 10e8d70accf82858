"""The model of a server: on its way, here, or failed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lightkorllm.chat import ChatModel
from lightkorllm.errors import EngineUnavailable, LightKorError


class ModelHolder:
    """Loads a model beside the server's own threads, so that `/health` answers from the start.

    `open_model` runs once, in a thread; `on_end` is called with None or the error after it.
    """

    def __init__(
        self,
        open_model: Callable[[], ChatModel],
        *,
        on_end: Callable[[LightKorError | None], None] = lambda error: None,
    ) -> None:
        self._open = open_model
        self._on_end = on_end
        self._lock = threading.Lock()
        self._model: ChatModel | None = None
        self._closed = False

    @classmethod
    def of(cls, model: ChatModel) -> ModelHolder:
        """A holder whose model is here already."""
        holder = cls(lambda: model)
        holder._load()
        return holder

    def start(self) -> None:
        threading.Thread(target=self._load, name="model-loader", daemon=True).start()

    @property
    def ready(self) -> bool:
        return self._model is not None and self._model.engine.ready

    @property
    def model(self) -> ChatModel:
        """The loaded model. Raises `EngineUnavailable` while it is on its way."""
        if self._model is None:
            raise EngineUnavailable("모델을 올리는 중입니다. 잠시 뒤 다시 시도해 주세요.")
        return self._model

    def close(self) -> None:
        """Close the model, also one that arrives later."""
        with self._lock:
            self._closed = True
            model = self._model
        if model is not None:
            model.close()

    def _load(self) -> None:
        try:
            model = self._open()
        except LightKorError as error:
            self._on_end(error)
            return
        with self._lock:
            self._model = model
            closed = self._closed
        if closed:
            model.close()
        else:
            self._on_end(None)
