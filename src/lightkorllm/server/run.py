"""The server's life: port, model, clients, and a clean end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from types import FrameType

from lightkorllm import chat
from lightkorllm.errors import LightKorError
from lightkorllm.options import ServeOptions
from lightkorllm.server import entrance
from lightkorllm.server.app import create_app
from lightkorllm.server.door import Door
from lightkorllm.server.guard import Guard
from lightkorllm.server.keys import Keys
from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.tunnel import Tunnel, curl_line, local_url

log = logging.getLogger(__name__)

SPARE_THREADS = 8  # for health, refusals, and questions being counted


def serve(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises a `SetupError` where it can't begin.

    What can fail fast is tried first: options, then the port, and only then the model.
    """
    chat.check(options)
    entrance.check(options)
    server = _Server(options)
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), server.on_signal)
    server.run()


class _Server:
    """One server and everything that it must end."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._guard = Guard()
        self._door = Door(options.host, options.port)
        self._holder = ModelHolder(
            lambda: chat.open_chat(options),
            on_end=self._loaded,
            keep_alive=60 * options.keep_alive,
        )
        self._tunnel: Tunnel | None = None
        self._failure: LightKorError | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        options = self._options
        app = create_app(self._holder, options, guard=self._guard)
        if options.allow_anyone:
            log.warning("--allow_anyone: 이 서버에 닿는 누구나 키 없이 쓸 수 있습니다.")
        log.info("모델을 올리는 중입니다 …")
        self._holder.start()
        try:
            self._door.serve(app, threads=options.n_parallel + options.max_queue + SPARE_THREADS)
        finally:
            self._end()
        if self._failure is not None:
            raise self._failure

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """First: let running answers finish. Second: leave now."""
        if self._stopping.is_set():
            self._door.stop()
            return
        self._stopping.set()
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        if self._guard.active:
            log.info(
                "하던 답 %d개를 마치고 끝냅니다 (최대 %d초). 바로 끝내려면 한 번 더 누르세요.",
                self._guard.active,
                self._options.drain_seconds,
            )
        self._guard.drain(self._options.drain_seconds)
        self._door.stop()

    def _loaded(self, error: LightKorError | None) -> None:
        if error is not None:
            self._failure = error
            self._door.stop()
            return
        options, engine = self._options, self._holder.model.engine
        log.info(
            "준비되었습니다: http://%s:%d  (모델 %s, 문맥 %s토큰, 동시 %d명)",
            options.host,
            self._door.port,
            engine.info.name,
            f"{engine.info.context_length:,}",
            engine.slots.count,
        )
        if options.tunnel_kind:
            log.info("%s 터널을 여는 중입니다 …", options.tunnel_kind)
            self._tunnel = Tunnel(
                options.tunnel_kind,
                local_url(options.host, self._door.port),
                token=options.ngrock_token,
                on_url=self._opened,
            )

    def _opened(self, url: str) -> None:
        with_key = bool(Keys.of(self._options))
        log.info("공개 주소: %s", url)
        log.info("물어보기: %s", curl_line(url, with_key=with_key))

    def _end(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
        self._holder.close()
        log.info("서버를 끝냈습니다.")
        sys.stderr.flush()
