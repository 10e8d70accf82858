"""ngrok's tunnel, by pyngrok: https://ngrok.com/docs/agent"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightkorllm.server.tunnel.base import NoTunnel, Opened, Tell

_TOKENS = "https://dashboard.ngrok.com/get-started/your-authtoken"
_NO_TOKEN = (
    f"ngrok 토큰이 없습니다. {_TOKENS} 에서 받아 --ngrock_token 이나 NGROK_AUTHTOKEN 으로 알려 "
    "주세요."
)
_BAD_TOKEN = f"토큰이 맞지 않습니다. {_TOKENS} 에서 다시 복사해 주세요."
_TOO_OLD = "ngrok 프로그램이 너무 오래되었습니다. `ngrok update`로 새로 받아 주세요."
_ADVICE = {  # https://ngrok.com/docs/errors
    "ERR_NGROK_4018": "토큰이 없거나 계정의 이메일이 확인되지 않았습니다. " + _BAD_TOKEN,
    "ERR_NGROK_105": _BAD_TOKEN,
    "ERR_NGROK_106": _BAD_TOKEN,
    "ERR_NGROK_107": _BAD_TOKEN,
    "ERR_NGROK_108": "이 계정으로 열린 ngrok이 너무 많습니다. 다른 곳의 ngrok을 끄거나 "
    "https://dashboard.ngrok.com/agents 에서 끊어 주세요.",
    "ERR_NGROK_120": _TOO_OLD,
    "ERR_NGROK_121": _TOO_OLD,
    "ERR_NGROK_324": "이 계정으로 열린 주소가 너무 많습니다. 다른 터널을 닫아 주세요.",
    "ERR_NGROK_334": "그 공개 주소를 다른 ngrok이 쓰고 있습니다. 그 터널을 먼저 닫아 주세요.",
    "ERR_NGROK_9040": "이 컴퓨터의 주소에서는 ngrok을 쓸 수 없습니다. --tunnel cloudflare 를 써 "
    "보세요.",
}
_NO_NETWORK = (
    "인터넷 연결과 방화벽(나가는 443번 포트)을 확인해 주세요. --tunnel cloudflare 도 있습니다."
)
_NOT_FETCHED = (
    "ngrok 프로그램을 내려받지 못했습니다. 인터넷 연결을 확인하거나, "
    "https://ngrok.com/download 에서 받아 그 자리를 PYNGROK_NGROK_PATH 로 알려 주세요."
)


def start(local: str, tell: Tell) -> Opened:
    """Open ngrok's tunnel with the token of `NGROK_AUTHTOKEN` or of ngrok's own config file.

    The token stays out of the agent's command line: it reads a config file that only this user
    can read and that is gone once the tunnel is open.
    """
    try:
        from pyngrok import conf, exception, ngrok, process
    except ImportError:
        raise NoTunnel(
            'ngrok을 쓰려면 설치가 필요합니다: pip install "lightkorllm[tunnel]".'
        ) from None
    config = conf.PyngrokConfig()
    token, config.auth_token = config.auth_token, None  # pyngrok would put it on a command line
    try:
        own = _read(Path(conf.get_config_path(config)))
        if not token and not _holds_token(own):
            raise NoTunnel(_NO_TOKEN)
        with _with_token(own, token) as path:
            config.config_path = path
            if not Path(config.ngrok_path).exists():
                tell("ngrok 프로그램을 내려받는 중입니다 …")
            url = ngrok.connect(local, "http", pyngrok_config=config).public_url
    except exception.PyngrokNgrokInstallError:
        raise NoTunnel(_NOT_FETCHED) from None
    except (exception.PyngrokError, OSError) as error:
        raise NoTunnel(f"ngrok 터널을 열지 못했습니다. {_advice(error)}") from None
    return Opened(str(url), process.get_process(config).proc)


def _advice(error: Exception) -> str:
    """What to do about pyngrok's error. Its texts may hold the token: only codes are shown."""
    lines = [entry.line for entry in getattr(error, "ngrok_logs", ())]
    said = " ".join([str(error), *lines, getattr(error, "body", "")])
    code = next((code for code in _ADVICE if code in said), None)
    if code:
        return f"{_ADVICE[code]} ({code})"
    other = getattr(error, "ngrok_error_code", None)
    return f"{_NO_NETWORK} ({other or type(error).__name__})"


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError):
        raise NoTunnel(
            f"ngrok의 설정 파일 {path} 을 읽을 수 없습니다. 고치거나 지워 주세요."
        ) from None
    return told if isinstance(told, dict) else {}


def _place(config: dict[str, Any]) -> dict[str, Any]:
    """Where a config of its version keeps the agent's settings."""
    if str(config.get("version", "3")) != "3":
        return config
    if not isinstance(config.get("agent"), dict):
        config["agent"] = {}
    place: dict[str, Any] = config["agent"]
    return place


def _holds_token(config: dict[str, Any]) -> bool:
    return bool(_place(config).get("authtoken"))


@contextmanager
def _with_token(config: dict[str, Any], token: str | None) -> Iterator[str | None]:
    """A config file like the user's own with this token; None, the user's own, without one."""
    if not token:
        yield None
        return
    import yaml

    config.setdefault("version", "3")
    _place(config)["authtoken"] = token
    handle, path = tempfile.mkstemp(prefix="lightkorllm-", suffix=".yml")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)
