"""Memory of this process: what it frees can be kept for its own use."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from lightkorllm import memory

FAULTS = """
import resource, numpy
from lightkorllm import memory
{before}
numpy.ones(1 << 24)
began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    numpy.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - began)
"""


def _faults(before: str) -> int:
    """Pages that had to be made for four arrays of 128 MB, each made when the last was freed."""
    program = FAULTS.format(before=before)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return int(ran.stdout)


def _has_glibc() -> bool:
    try:
        return hasattr(ctypes.CDLL("libc.so.6"), "gnu_get_libc_version")
    except OSError:
        return False


@pytest.mark.skipif(not _has_glibc(), reason="only glibc is told")
def test_large_blocks_that_are_kept_need_not_be_cleared_again() -> None:
    pytest.importorskip("numpy")
    assert _faults("memory.keep_freed()") * 10 < _faults("")


def test_without_glibc_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def missing(name: str) -> None:
        asked.append(name)
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(sys, "platform", "linux")
    memory.keep_freed()
    assert asked == ["libc.so.6"]
    monkeypatch.setattr(sys, "platform", "win32")
    memory.keep_freed()
    assert len(asked) == 1
