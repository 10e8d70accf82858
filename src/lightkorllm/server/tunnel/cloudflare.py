"""Cloudflare's quick tunnel, by the program `cloudflared`: no account, a new address each time."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from lightkorllm.server.tunnel.base import NoTunnel, Opened, Tell

_INSTALL = "https://developers.cloudflare.com/cloudflare-one/networks/connectors/cloudflare-tunnel/downloads/"
_MISSING = (
    f"cloudflared 프로그램이 없습니다. {_INSTALL} 에서 받아 PATH에 두거나 --tunnel ngrok 을 써 "
    "주세요."
)
_TOO_MANY = "Cloudflare가 지금은 새 주소를 주지 않습니다(429). 몇 분 뒤에 서버를 다시 켜 주세요."
_NO_NETWORK = (
    "Cloudflare 터널을 열지 못했습니다. 인터넷 연결과 방화벽(나가는 443번과 7844번 포트)을 확인해 "
    "주세요."
)
_CONFIG = b"no-autoupdate: true\n"  # in place of the user's own, whose rules would hide our server
_HOST = ".trycloudflare.com"
_NO_ADDRESS = f"api{_HOST}"  # where addresses are asked for
_CONNECTED = "Registered tunnel connection"
_REFUSED = ("429", "error code: 1015")


def start(local: str, tell: Tell) -> Opened:
    """Run `cloudflared tunnel --url LOCAL` until it has told its URL and is connected."""
    program = shutil.which("cloudflared")
    if program is None:
        raise NoTunnel(_MISSING)
    with tempfile.NamedTemporaryFile(suffix=".yml", delete=False) as config:
        config.write(_CONFIG)
    try:
        agent = subprocess.Popen(
            [program, "tunnel", "--config", config.name, "--url", local],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        Path(config.name).unlink()
        raise NoTunnel(f"{program} 을 실행할 수 없습니다({error.strerror}). {_MISSING}") from None
    assert agent.stderr
    try:
        url = _url(agent.stderr)
    except NoTunnel:
        agent.kill()
        agent.wait()
        raise
    finally:
        Path(config.name).unlink()
    threading.Thread(target=_drain, args=(agent.stderr,), daemon=True).start()
    return Opened(url, agent)


def _url(lines: Iterable[str]) -> str:
    """The public URL of the agent's log, once it is connected. Raises `NoTunnel` at its end."""
    url, refused = None, False
    for line in lines:
        url = url or next((word for word in line.split() if _is_public(word)), None)
        refused = refused or any(sign in line for sign in _REFUSED)
        if url and _CONNECTED in line:
            return url
    raise NoTunnel(_TOO_MANY if refused else _NO_NETWORK)


def _is_public(word: str) -> bool:
    return word.startswith("https://") and word.endswith(_HOST) and not word.endswith(_NO_ADDRESS)


def _drain(lines: Iterable[str]) -> None:
    """Read on, so that the agent is never stopped by a full pipe."""
    for _ in lines:
        pass
