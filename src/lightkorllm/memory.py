"""How much memory and disk this machine has left, in bytes."""

from __future__ import annotations

import ctypes
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

GIB = 1024**3
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # malloc.h


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes in all and bytes that are free now."""

    total: int
    free: int


def ram() -> Space | None:
    """Main memory, a container's own limit included; None where the system does not tell."""
    found = _from_psutil() or _from_proc()
    limit = _container_limit()
    if found is None or limit is None or limit.total > found.total:
        return found
    return Space(limit.total, min(limit.free, found.free))


def available(device: str) -> int | None:
    """Bytes free on a device as PyTorch names it; None where the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    found = ram()
    return found.free if found else None


def disk(path: Path) -> Space:
    """The disk that `path` lies on, or will lie on."""
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return Space(usage.total, usage.free)


def keep_freed() -> None:
    """Let the C library keep what this process frees, for it to be used again.

    glibc gives blocks of many megabytes back to the system at once, and a loop that needs them in
    each step has them cleared page by page: 18 % of its time in fine-tuning on a CPU. Where the
    library is another one, nothing changes. Values: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, 2**31 - 1), (_MMAP_THRESHOLD, 2**30)):
        mallopt(option, value)


def text(size: float) -> str:
    """Bytes for people: `3.4 GB`, where GB is 1024³ bytes as the tools of systems count."""
    return f"{size / GIB:.1f} GB" if size >= GIB / 10 else f"{size / 1024**2:.0f} MB"


def _from_psutil() -> Space | None:
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.virtual_memory()
    return Space(memory.total, memory.available)


def _from_proc() -> Space | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (x.partition(":") for x in lines)
    }
    return Space(values["MemTotal"], values.get("MemAvailable", values["MemFree"]))


def _container_limit() -> Space | None:
    """A control group's limit (version 2); None where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return Space(limit, max(0, limit - used))
