"""Graphics cards are recognised by what their tools say, so tested without any."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightkorllm import cards, memory
from lightkorllm.cards import Card
from lightkorllm.fitting import places

MIB = 1024**2


def test_nvidia_cards_are_read_line_by_line() -> None:
    table = "NVIDIA GeForce RTX 3060, 12288, 11890, 8.6\nNVIDIA GeForce GTX 1660, 6144, 5800, 7.5\n"
    first, second = cards.of_nvidia(table)
    assert first == Card("NVIDIA GeForce RTX 3060", "nvidia", 12288 * MIB, 11890 * MIB, (8, 6))
    assert (second.name, second.capability) == ("NVIDIA GeForce GTX 1660", (7, 5))


@pytest.mark.parametrize(
    "table",
    ["", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n",
     "Some card, [N/A], [N/A], 7.5\n"],
)  # fmt: skip
def test_a_drivers_complaint_is_no_card(table: str) -> None:
    assert cards.of_nvidia(table) == ()


def _amd(drm: Path, number: int, *, vendor: str, total: int, used: int = 0, name: str = "") -> None:
    device = drm / f"card{number}" / "device"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n", encoding="ascii")
    (device / "mem_info_vram_total").write_text(f"{total}\n", encoding="ascii")
    (device / "mem_info_vram_used").write_text(f"{used}\n", encoding="ascii")
    if name:
        (device / "product_name").write_text(f"{name}\n", encoding="utf-8")


def test_amd_cards_are_found_where_linux_keeps_them(tmp_path: Path) -> None:
    _amd(tmp_path, 0, vendor="0x1002", total=512 * MIB)  # a share of main memory
    _amd(tmp_path, 1, vendor="0x1002", total=8192 * MIB, used=1024 * MIB, name="Radeon RX 6600")
    _amd(tmp_path, 2, vendor="0x8086", total=8192 * MIB)
    (tmp_path / "card1-HDMI-A-1").mkdir()
    assert cards.of_amd(tmp_path) == (Card("Radeon RX 6600", "amd", 8192 * MIB, 7168 * MIB),)


def test_apples_chips_share_the_machines_memory() -> None:
    (card,) = cards.of_apple("arm64", "Apple M2\n", str(16 * 1024**3))
    assert (card.name, card.maker) == ("Apple M2", "apple")
    assert 10 * 1024**3 < card.total < 11 * 1024**3
    assert cards.of_apple("x86_64", "Intel", str(16 * 1024**3)) == ()
    assert cards.of_apple("arm64", "Apple M1", "") == ()


def test_a_card_that_torch_does_not_compute_on_is_left_to_llamacpp() -> None:
    amd, apple = Card("RX 6600", "amd", 8, 8), Card("Apple M2", "apple", 8, 8)
    assert not places.of_card(amd).runs_torch
    assert not places.of_card(apple).runs_torch
    assert places.of_card(Card("RTX 3060", "nvidia", 8, 8, (8, 6))).runs_torch


def test_a_card_that_is_named_by_its_size_is_one() -> None:
    place = places.find(vram=6)
    assert (place.kind, place.total) == ("card", 6 * memory.GIB)
    assert place.room < place.total


def test_without_a_card_it_is_main_memory() -> None:
    assert places.find(device="cpu").kind == "ram"
