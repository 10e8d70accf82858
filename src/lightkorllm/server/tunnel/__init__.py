"""A public URL for the server; whatever fails, the local server goes on."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds that an agent may say nothing while it opens
_STAYS = "로컬 서버는 그대로 열려 있습니다."
_NEAR = "127.0.0.1,localhost"  # never asked through an HTTP proxy


class Tunnel:
    """A tunnel of `kind` (a file here) to the local URL `local`, opened beside the server.

    It lives in a process of its own that ends, and its agent with it, when we close it or are
    gone. `on_url` is called once, from a thread, when the public URL answers; every failure is
    a line in the log. The token goes to the agent by its environment, never by a command line.
    """

    def __init__(
        self,
        kind: str,
        local: str,
        *,
        token: str | None = None,
        on_url: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        self._kind, self._on_url, self._patience = kind, on_url, patience
        self._closing = threading.Event()
        self._timer: threading.Timer | None = None
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "lightkorllm.server.tunnel.keeper", kind, local],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # may hold the token
            text=True,
            encoding="utf-8",
            env=_environ(token),
            start_new_session=True,  # Ctrl-C is ours: running answers still leave through it
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._wait_on()
        self._listener = threading.Thread(target=self._listen, name="tunnel", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Close the tunnel; returns when its agent is gone."""
        self._closing.set()
        self._let_go()
        if threading.current_thread() is not self._listener:
            self._listener.join(timeout=5)

    def _listen(self) -> None:
        assert self._keeper.stdout
        ended = False
        with self._keeper.stdout as lines:
            for line in lines:
                self._wait_on()
                ended = self._hear(json.loads(line)) or ended
        self._stop_waiting()
        _end_group(self._keeper)
        if not ended:
            self._fail(f"{self._kind} 터널 프로그램이 갑자기 끝났습니다. 서버를 다시 켜 주세요.")

    def _hear(self, event: Mapping[str, str]) -> bool:
        """Take one word of the keeper; whether it is its last."""
        if "doing" in event:
            log.info("%s", event["doing"])
        elif "url" in event:
            self._stop_waiting()
            self._on_url(event["url"])
        elif "failed" in event:
            self._fail(event["failed"])
            return True
        return False

    def _fail(self, message: str) -> None:
        if not self._closing.is_set():
            self._closing.set()
            log.error("%s %s", message, _STAYS)

    def _wait_on(self) -> None:
        self._stop_waiting()
        self._timer = threading.Timer(self._patience, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._fail(
            f"{self._kind} 터널이 {self._patience:.0f}초가 지나도 열리지 않아 그만두었습니다. "
            "인터넷 연결과 방화벽을 확인하고 서버를 다시 켜 주세요."
        )
        self._let_go()

    def _let_go(self) -> None:
        """Close the keeper's stdin, at which it ends the agent and itself; or else we do."""
        self._stop_waiting()
        if self._keeper.stdin:
            self._keeper.stdin.close()
        try:
            self._keeper.wait(timeout=3)
        except subprocess.TimeoutExpired:
            _end_group(self._keeper)


def local_url(host: str, port: int) -> str:
    """Where an agent on this computer reaches a server that listens on `host`."""
    near = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}
    address = near.get(host.strip("[]").lower(), host.strip("[]"))
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def curl_line(url: str, *, with_key: bool) -> str:
    """A question to ask through `url`; where a key is needed, its place is marked."""
    key = ' -H "Authorization: Bearer YOUR_API_KEY"' if with_key else ""
    json_type = ' -H "Content-Type: application/json"'
    return f'curl {url}/inferweb{key}{json_type} -d \'{{"input": "안녕하세요?"}}\''


def _environ(token: str | None) -> dict[str, str]:
    environ = {**os.environ, **({"NGROK_AUTHTOKEN": token} if token else {})}
    for name in ("no_proxy", "NO_PROXY"):
        environ[name] = ",".join(part for part in (environ.get(name), _NEAR) if part)
    return environ


def _end_group(keeper: subprocess.Popen[str]) -> None:
    """End the keeper and whatever it may have left."""
    if sys.platform == "win32":
        keeper.kill()
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(keeper.pid, signal.SIGKILL)
    keeper.wait()
