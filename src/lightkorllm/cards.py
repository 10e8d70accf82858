"""Which graphics cards this machine has, found without any heavy library.

NVIDIA is asked through `nvidia-smi`, AMD through Linux's `/sys`, Apple through `sysctl`. What
each says is read by a function of plain text, so that every card can be tested without one.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MIB = 1024**2
_AMD = "0x1002"
_SMALLEST = 1024**3  # less is a share of main memory that a screen needs
_METAL = 0.67  # of all memory is what Metal lets a program use


@dataclass(frozen=True, slots=True)
class Card:
    """A card and bytes of its memory. `capability` is CUDA's; None for other makers.

    Apple's chips share the machine's memory: `total` and `free` are what Metal lets be used.
    """

    name: str
    maker: Literal["nvidia", "amd", "apple"]
    total: int
    free: int
    capability: tuple[int, int] | None = None


def found() -> tuple[Card, ...]:
    """The cards of this machine, in their own order; empty where there is none or none tells."""
    if platform.system() == "Darwin":
        return of_apple(platform.machine(), _told("sysctl", "-n", "machdep.cpu.brand_string"),
                        _told("sysctl", "-n", "hw.memsize"))  # fmt: skip
    query = "--query-gpu=name,memory.total,memory.free,compute_cap"
    nvidia = of_nvidia(_told("nvidia-smi", query, "--format=csv,noheader,nounits"))
    return nvidia or of_amd(Path("/sys/class/drm"))


def of_nvidia(table: str) -> tuple[Card, ...]:
    """From what nvidia-smi writes: name, MiB in all, MiB free and compute capability a line."""
    return tuple(card for line in table.splitlines() for card in _nvidia(line))


def _nvidia(line: str) -> Iterator[Card]:
    try:
        name, total, free, capability = (cell.strip() for cell in line.split(","))
        major, minor = capability.split(".")
        yield Card(name, "nvidia", int(total) * _MIB, int(free) * _MIB, (int(major), int(minor)))
    except ValueError:  # a driver's complaint is no card
        return


def of_amd(drm: Path) -> tuple[Card, ...]:
    """From the folders that Linux keeps for each card."""
    return tuple(card for folder in sorted(drm.glob("card[0-9]*")) for card in _amd(folder))


def _amd(folder: Path) -> Iterator[Card]:
    device = folder / "device"
    try:
        if (device / "vendor").read_text(encoding="ascii").strip() != _AMD:
            return
        total = int((device / "mem_info_vram_total").read_text(encoding="ascii"))
        used = int((device / "mem_info_vram_used").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if total < _SMALLEST:
        return
    name = device / "product_name"
    told = name.read_text(encoding="utf-8").strip() if name.is_file() else ""
    yield Card(told or "AMD Radeon", "amd", total, max(0, total - used))


def of_apple(machine: str, chip: str, memory: str) -> tuple[Card, ...]:
    """From the machine's kind, the chip's name and bytes of memory; Intel's Macs have none."""
    if machine != "arm64" or not memory.strip().isdecimal():
        return ()
    usable = int(int(memory) * _METAL)
    return (Card(chip.strip() or "Apple", "apple", usable, usable),)


def _told(*command: str) -> str:
    """What a program writes; "" where it isn't there or fails."""
    try:
        ran = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout
