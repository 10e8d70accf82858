"""Keeps one tunnel agent: a process that ends it when the server closes our stdin or is gone.

`python -m lightkorllm.server.tunnel.keeper KIND LOCAL_URL` says on stdout, one JSON object a
line, what it is `doing`, the `url`, and why it `failed`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from lightkorllm.server.tunnel.base import NoTunnel, Opened, Tell

_CLOSED = (
    "공개 주소가 닫혔습니다({kind} 프로그램이 {code}번으로 끝남). "
    "다시 열려면 서버를 다시 켜 주세요."
)
GENTLY = 2.0  # seconds that an agent has for leaving by itself


def main(kind: str, local: str) -> int:
    """Open the tunnel and stay with it; 1 when there is none, or no longer."""
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # we end when our stdin does
    out, sys.stdout = sys.stdout, sys.stderr  # libraries that print don't disturb

    def say(word: str, text: str) -> None:
        out.write(json.dumps({word: text}) + "\n")
        out.flush()

    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    start: Callable[[str, Tell], Opened]
    start = importlib.import_module(f"lightkorllm.server.tunnel.{kind}").start
    try:
        opened = start(local, lambda text: say("doing", text))
    except NoTunnel as error:
        say("failed", str(error))
        return 1
    say("url", opened.url)
    code = opened.agent.wait()
    say("failed", _CLOSED.format(kind=kind, code=code))
    return 1


def _end_with_stdin() -> None:
    """When stdin ends: the agent gets time to say goodbye, then everything here is killed."""
    while os.read(0, 1):
        pass
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(os.getpid())]
        subprocess.run(command, capture_output=True, check=False)
        os._exit(0)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GENTLY)  # unless the agent ends, and we with it
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
