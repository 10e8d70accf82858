"""A GGUF file read back: tensors as numbers, settings as values."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray


class GgufFile:
    def __init__(self, path: Path) -> None:
        self._reader: Any = gguf.GGUFReader(path)

    def kinds(self) -> dict[str, str]:
        return {tensor.name: tensor.tensor_type.name for tensor in self._reader.tensors}

    def numbers(self, name: str) -> NDArray[np.float32]:
        """A tensor in float32 [out, in], dequantised by the gguf package."""
        (tensor,) = [tensor for tensor in self._reader.tensors if tensor.name == name]
        shape = tuple(int(size) for size in reversed(tensor.shape))
        return np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).reshape(shape)

    def __getitem__(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def __contains__(self, key: str) -> bool:
        return key in self._reader.fields

    def keys(self) -> set[str]:
        return {key for key in self._reader.fields if not key.startswith("GGUF.")}


def empty(architecture: str) -> bytes:
    """A GGUF file that says its architecture and nothing else."""
    texts = b"".join(
        struct.pack("<Q", len(text)) + text.encode() + kind
        for text, kind in (("general.architecture", struct.pack("<I", 8)), (architecture, b""))
    )
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + texts


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip


def native_name(layer: str) -> str:
    """`model.layers.3.mlp.up_proj` → `blk.3.ffn_up.weight`."""
    _, _, number, rest = layer.split(".", 3)
    return f"blk.{number}.{NAMES[rest]}.weight"


def paired_rows(weights: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of Q or K in llama.cpp's order: row i and row i + d/2 of a head become neighbours."""
    depth = len(weights) // heads
    order = [
        head * depth + place + half * depth // 2
        for head in range(heads)
        for place in range(depth // 2)
        for half in (0, 1)
    ]
    return weights[order]
