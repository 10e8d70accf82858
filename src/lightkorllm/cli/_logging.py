"""Where log lines go when a command runs: stderr, one line each, plain or JSON."""

from __future__ import annotations

import functools
import json
import logging
import sys
import warnings
from datetime import datetime, timezone
from typing import Any, Literal


def to_stderr(level: str, *, style: Literal["plain", "json"] = "plain") -> None:
    """Our own lines from `level` up, other libraries' from warning up."""
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(plain if style == "plain" else _Json())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("lightkorllm").setLevel(level.upper())


def quiet_libraries() -> None:
    """No bars and hints from torch and transformers between our own lines; errors stay."""
    for name in ("torch.utils._pytree", "torchao"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"transformers\..*|torch\..*|gptqmodel\..*")
    try:
        from transformers import modeling_gguf_pytorch_utils as gguf_reader
        from transformers.utils import logging as theirs
    except ImportError:
        return
    bars: Any = gguf_reader
    bars.tqdm = functools.partial(bars.tqdm, disable=True)
    guest: Any = theirs
    guest.set_verbosity_error()
    guest.disable_progress_bar()


class _Json(logging.Formatter):
    """One JSON object a line; a record's `fields` stand in it in place of its message."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, tz=timezone.utc)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **(getattr(record, "fields", None) or {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
