"""What is installed, by the extra that it belongs to, as our own metadata lists them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from lightkorllm.doctor.checks import Check

_OURS = "lightkorllm"
_PURPOSES = {
    "": "서빙",
    "demo": "내장 모델",
    "gptq": "양자화와 transformers 엔진",
    "train": "미세조정",
    "eval": "한국어 과제로 재기",
    "tunnel": "ngrok 공개 주소",
}
_MORE_THAN_GPTQ = ("train", "eval")  # these hold all of the gptq extra too


def checks() -> Iterator[Check]:
    yield Check(_OURS, "ok", _version(_OURS) or "설치하지 않고 소스에서 실행 중")
    yield from of_requirements(metadata.requires(_OURS) or ())


def of_requirements(lines: Iterable[str]) -> Iterator[Check]:
    """One check an extra, of requirements as a package's metadata has them."""
    named: dict[str, list[str]] = {extra: [] for extra in _PURPOSES}
    for line in lines:
        name, extra = _parsed(line)
        if name and extra in named:
            named[extra].append(name)
    for extra, names in named.items():
        beside = named["gptq"] if extra in _MORE_THAN_GPTQ else []
        yield _check(extra, names, untold=beside)


def _check(extra: str, names: list[str], *, untold: list[str]) -> Check:
    versions = {name: _version(name) for name in names}
    lacking = [name for name, version in versions.items() if version is None]
    told = ", ".join(
        f"{name} {version}" for name, version in versions.items() if version and name not in untold
    )
    title = f"{_PURPOSES[extra]}{f' [{extra}]' if extra else ''}"
    if not lacking:
        return Check(title, "ok", told or "더 깔 것이 없음", needed=not extra)
    found = f"없음: {', '.join(lacking)}{f' (있음: {told})' if told else ''}"
    install = f'pip install "{_OURS}{f"[{extra}]" if extra else ""}"'
    return Check(title, "missing" if extra else "bad", found, install, needed=not extra)


def _parsed(line: str) -> tuple[str, str]:
    """A requirement's name and extra; no name where it isn't for this Python, or is ourselves."""
    wanted, _, condition = line.partition(";")
    name = wanted.strip()
    for sign in "<>=!~[( ":
        name = name.partition(sign)[0]
    condition = condition.replace('"', "'")
    _, _, extra = condition.partition("extra == '")
    is_old_python = "python_version < '3.11'" in condition and sys.version_info >= (3, 11)
    is_other_chip = f"platform_machine != '{platform.machine()}'" in condition
    if name == _OURS or is_old_python or is_other_chip:
        return "", ""
    return name, extra.partition("'")[0]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
