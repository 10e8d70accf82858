"""Where a model would lie: a graphics card, or main memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightkorllm import cards, hardware, memory
from lightkorllm.cards import Card

_ROOM = {"card": 0.95, "ram": 0.9}  # of what is free may be used


@dataclass(frozen=True, slots=True)
class Place:
    """A card or main memory: its name, bytes in all and free. `capability` is CUDA's or None."""

    kind: Literal["card", "ram"]
    name: str
    total: int
    free: int
    maker: str = ""
    capability: tuple[int, int] | None = None

    @property
    def room(self) -> int:
        """Bytes that a model may take here, a little left free."""
        return int(self.free * _ROOM[self.kind])

    @property
    def runs_torch(self) -> bool:
        """Whether PyTorch computes on it as `--device auto` does."""
        return self.kind == "card" and self.maker in ("nvidia", "")

    def dtype(self, model_type: str) -> str:
        """The numbers that transformers would compute in here."""
        if self.kind == "ram":
            return "float32"
        if self.capability is None:
            return "float16"
        return hardware.on_cuda(self.name, self.capability, model_type=model_type).dtype

    @property
    def advice(self) -> str:
        """What is known of this card; "" where there is nothing to say."""
        if self.capability is None:
            return ""
        return hardware.on_cuda(self.name, self.capability).advice


def find(*, vram: float = 0, device: str = "auto") -> Place:
    """The card of `vram` GB, else the first card of this machine, else its main memory."""
    if vram:
        size = int(vram * memory.GIB)
        return Place("card", f"{vram:g} GB 카드", size, size)
    found = cards.found() if device != "cpu" else ()
    return of_card(found[0]) if found else main_memory()


def of_card(card: Card) -> Place:
    return Place("card", card.name, card.total, card.free, card.maker, card.capability)


def main_memory() -> Place:
    """Main memory; 0 bytes where the system does not tell."""
    space = memory.ram() or memory.Space(0, 0)
    return Place("ram", "주 메모리", space.total, space.free)
