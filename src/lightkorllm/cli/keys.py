"""서버의 API 키를 만듭니다."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def run(argv: Sequence[str], *, prog: str) -> None:
    """`keys new NAME [--file FILE]`: show a fresh key once; the file gets its hash only."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="new")
    new = verbs.add_parser("new", help="새 키를 만들어 한 번 보여 줍니다")
    new.add_argument("name", metavar="이름", help="누구의 키인지. 한도와 로그에 쓰입니다")
    new.add_argument("--file", metavar="FILE", type=Path, help="이 키 파일의 끝에 적습니다")
    told = parser.parse_args(list(argv))

    from lightkorllm.server import keys

    secret, key = keys.new(told.name)
    if told.file is None:
        print(f"키(다시 보여 드리지 않습니다): {secret}")
        print(f"--api_key_file 파일에 적을 줄: {key.line}")
        return
    _append(told.file, key.line)
    print(f"키(다시 보여 드리지 않습니다): {secret}")
    print(f"{told.file} 파일에 적었습니다.")


def _append(path: Path, line: str) -> None:
    """Add a line to a file that others can't read."""
    from lightkorllm.errors import OptionError

    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError("--file", f"{path} 파일에 적을 수 없습니다 ({error})") from None
