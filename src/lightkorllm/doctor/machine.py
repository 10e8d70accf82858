"""The machine: Python, processor, cards, memory, disk, the cache folder, fonts, the port."""

from __future__ import annotations

import errno
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lightkorllm import cards, embedded, hardware, memory, plotting
from lightkorllm.doctor.checks import Check
from lightkorllm.options import ServeOptions

_LITTLE_MEMORY = 1 * memory.GIB
_LITTLE_DISK = 2 * memory.GIB
_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd")


def checks() -> Iterator[Check]:
    yield Check("파이썬", "ok", platform.python_version())
    yield Check("컴퓨터", "ok", platform.platform())
    yield _processor()
    yield from _cards()
    yield _memory()
    yield _disk(embedded.cache_folder())
    yield cache_folder(embedded.cache_folder())
    yield port(ServeOptions.port)
    yield _console(sys.stdout.encoding or "")
    yield _font()


def _processor() -> Check:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        told = []
    found = ", ".join(name for name in _FEATURES if name in told) or platform.processor()
    is_old = bool(told) and platform.machine() in ("x86_64", "AMD64") and "avx2" not in told
    if is_old:
        return Check(
            "프로세서",
            "bad",
            f"AVX2가 없습니다 ({found or platform.machine()})",
            "llama.cpp가 느리거나 돌지 않을 수 있습니다. 다른 컴퓨터를 권합니다",
        )
    return Check("프로세서", "ok", found or platform.machine())


def _cards() -> Iterator[Check]:
    found = cards.found()
    if not found:
        yield Check("그래픽 카드", "missing", "없음. CPU로 돌립니다")
    for card in found:
        advice = hardware.on_cuda(card.name, card.capability).advice if card.capability else ""
        size = f"{memory.text(card.total)} 가운데 {memory.text(card.free)} 남음"
        yield Check("그래픽 카드", "ok", f"{card.name}, {size}", advice)


def _memory() -> Check:
    space = memory.ram()
    if space is None:
        return Check("메모리", "missing", "알 수 없음")
    found = f"{memory.text(space.total)} 가운데 {memory.text(space.free)} 남음"
    if space.free < _LITTLE_MEMORY:
        return Check("메모리", "bad", found, "다른 프로그램을 닫아 주세요")
    return Check("메모리", "ok", found)


def _disk(folder: Path) -> Check:
    free = memory.disk(folder).free
    found = f"{memory.text(free)} 남음 ({folder})"
    if free < _LITTLE_DISK:
        return Check("디스크", "bad", found, "모델을 내려받을 자리를 비워 주세요")
    return Check("디스크", "ok", found)


def cache_folder(folder: Path) -> Check:
    """Whether files can be made in the folder of what we keep."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "캐시 폴더",
            "bad",
            f"{folder}에 쓸 수 없습니다 ({error.strerror})",
            "폴더의 권한을 고치거나 XDG_CACHE_HOME을 쓸 수 있는 폴더로 정해 주세요",
            needed=True,
        )
    return Check("캐시 폴더", "ok", str(folder), needed=True)


def port(number: int) -> Check:
    """Whether the server's usual port is free."""
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", number))
        except OSError as error:
            used = error.errno in (errno.EADDRINUSE, errno.EACCES)
            found = "이미 쓰이고 있습니다" if used else str(error.strerror)
            return Check(
                f"포트 {number}",
                "missing",
                found,
                f"켜 둔 서버가 아니라면 lightkorllm serve --port {number + 1}",
            )
    return Check(f"포트 {number}", "ok", "비어 있음")


def _console(encoding: str) -> Check:
    try:
        "한글 가나다".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Check(
            "콘솔의 한글",
            "bad",
            encoding or "알 수 없음",
            "환경 변수 PYTHONUTF8=1을 정해 주세요(Windows에서는 chcp 65001도)",
        )
    return Check("콘솔의 한글", "ok", encoding)


def _font() -> Check:
    if find_spec("matplotlib") is None:
        return Check(
            "그림의 한글 글꼴",
            "missing",
            "matplotlib이 없어 그림을 그리지 않습니다",
            'pip install "lightkorllm[gptq]"',
        )
    font = plotting.korean_font()
    if font is None:
        return Check(
            "그림의 한글 글꼴",
            "missing",
            "없음. 그림의 이름표를 영어로 씁니다",
            "나눔 글꼴을 까세요. 데비안·우분투: sudo apt install fonts-nanum",
        )
    return Check("그림의 한글 글꼴", "ok", font)
