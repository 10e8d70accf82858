"""한국어 LLM을 HTTP API로 서비스합니다."""

from __future__ import annotations

from collections.abc import Sequence


def run(argv: Sequence[str], *, prog: str) -> None:
    """Serve until stopped; `argv` are the flags of `options.ServeOptions`."""
    from lightkorllm.cli import _logging
    from lightkorllm.options import ServeOptions, load

    options = load(ServeOptions, argv, prog=prog)
    _logging.to_stderr(options.log_level, style=options.log_format)

    from lightkorllm.server.run import serve

    serve(options)
