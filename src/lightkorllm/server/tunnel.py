"""A public URL through ngrok; whatever fails, the local server goes on."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

_NO_TOKEN = (
    "ngrok 토큰이 없습니다. https://dashboard.ngrok.com/get-started/your-authtoken 에서 받아 "
    "--ngrock_token 이나 NGROK_AUTHTOKEN 으로 알려 주세요. 로컬 서버는 그대로 열려 있습니다."
)


class Tunnel:
    """An ngrok tunnel to `port`. `url` is None where it could not be opened; the log says why."""

    def __init__(self, port: int, *, token: str | None) -> None:
        self.url = _open(port, token or os.environ.get("NGROK_AUTHTOKEN"))

    def close(self) -> None:
        if self.url is not None:
            from pyngrok import ngrok

            ngrok.kill()


def _open(port: int, token: str | None) -> str | None:
    try:
        from pyngrok import conf, exception, ngrok
    except ImportError:
        log.error('ngrok을 쓰려면 설치가 필요합니다: pip install "lightkorllm[tunnel]"')
        return None
    if not token and not _configured(conf.get_default().config_path):
        log.error(_NO_TOKEN)
        return None
    logging.getLogger("pyngrok").setLevel(logging.CRITICAL + 1)  # its lines may hold the token
    try:
        if token:
            conf.get_default().auth_token = token
        return str(ngrok.connect(str(port), "http").public_url)
    except (exception.PyngrokError, OSError) as error:
        log.error(
            "ngrok 터널을 열지 못했습니다. 토큰이 맞는지, 이미 열린 터널이 없는지 확인해 주세요. "
            "로컬 서버는 그대로 열려 있습니다. (%s)",
            str(error).replace(token, "****") if token else type(error).__name__,
        )
        return None


def _configured(path: str | None) -> bool:
    """Whether ngrok's own config file exists; it usually holds a token."""
    default = os.path.expanduser("~/.config/ngrok/ngrok.yml")  # noqa: PTH111
    return os.path.isfile(path or default)  # noqa: PTH113
