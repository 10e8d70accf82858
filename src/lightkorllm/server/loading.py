"""The model of a server: on its way, here, asleep, or failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lightkorllm.chat import ChatModel
from lightkorllm.errors import EngineUnavailable, LightKorError


class ModelHolder:
    """Loads a model beside the server's own threads, so that `/health` answers from the start.

    `open_model` runs in a thread; `on_end` is called with None or the error after the first run.
    With `keep_alive` seconds above 0, a model that nobody asks for so long leaves memory; the next
    one who asks waits until it is back.
    """

    def __init__(
        self,
        open_model: Callable[[], ChatModel],
        *,
        on_end: Callable[[LightKorError | None], None] = lambda error: None,
        keep_alive: float = 0,
    ) -> None:
        self._open = open_model
        self._on_end = on_end
        self._keep_alive = keep_alive
        self._lock = threading.Lock()
        self._model: ChatModel | None = None
        self._asleep = False
        self._last_asked = time.monotonic()
        self._closed = threading.Event()

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
        """Whether a question that came now would be answered, be it after waking the model."""
        model = self._model
        return self._asleep or (model is not None and model.engine.ready)

    @property
    def loaded(self) -> ChatModel | None:
        """The model if it is in memory now; asking loads nothing."""
        return self._model

    @property
    def model(self) -> ChatModel:
        """The loaded model, woken where it sleeps.

        Raises `EngineUnavailable` while it is on its way for the first time.
        """
        self._last_asked = time.monotonic()
        if self._asleep:
            self._wake()
        model = self._model
        if model is None:
            raise EngineUnavailable("모델을 올리는 중입니다. 잠시 뒤 다시 시도해 주세요.")
        return model

    def close(self) -> None:
        """Close the model, also one that arrives later."""
        with self._lock:
            self._closed.set()
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
        if self._closed.is_set():
            model.close()
            return
        self._on_end(None)
        if self._keep_alive > 0:
            threading.Thread(target=self._watch, name="model-idle", daemon=True).start()

    def _wake(self) -> None:
        """Load again; those who ask meanwhile wait at the lock and find it done."""
        with self._lock:
            if self._asleep and not self._closed.is_set():
                self._model = self._open()
                self._asleep = False
                self._last_asked = time.monotonic()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._keep_alive / 4)):
            with self._lock:  # not while it is being woken
                model = self._model if self._is_idle() else None
                if model is not None:
                    self._model, self._asleep = None, True
            if model is not None:
                model.close()

    def _is_idle(self) -> bool:
        model = self._model
        if model is not None and (model.engine.slots.busy or model.engine.slots.waiting):
            self._last_asked = time.monotonic()
        return time.monotonic() - self._last_asked > self._keep_alive
