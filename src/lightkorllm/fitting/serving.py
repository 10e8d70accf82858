"""What serving a model takes: weights, keys and values, what is computed with, and the engine.

llama.cpp on a CPU was measured, see docs/models.md; on cards the figures are reckoned.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from lightkorllm.finetuning.base import Base
from lightkorllm.shape import Shape

_MIB = 1024**2
_WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
_KV_BITS = {"f16": 16, "q8_0": 8.5, "q4_0": 4.5}
_CARD = 512 * _MIB  # a CUDA context and its libraries' workspaces
_CHILD = 33 * _MIB  # Python and llama.cpp, before any model
_WORD = 260  # bytes that llama.cpp keeps of each word of a vocabulary
_TORCH = 600 * _MIB  # Python, torch and transformers in main memory
_UBATCH = 512  # tokens that llama.cpp computes at once
_CHUNK = {True: 512, False: 128}  # and ours with transformers, on a card or not


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is served. `dtype` and `kv_type` are transformers' and llama.cpp's numbers."""

    engine: str
    on_card: bool
    context: int
    requests: int = 1
    dtype: str = "float16"
    kv_type: str = "f16"


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes by what takes them; `loaded` is what is taken before the first question.

    `copied` weights lie in memory twice, but the file's pages of them are never read again: the
    system takes them back where something else needs the room.
    """

    weights: int
    cache: int
    activations: int
    overhead: int
    loaded: int
    copied: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.copied + self.cache + self.activations + self.overhead

    @property
    def needed(self) -> int:
        """What has to be free for it."""
        return self.total - self.copied


def need(model: Base, load: Load) -> Need:
    """What a model takes at most while it answers `load.requests` questions of full length."""
    return _llamacpp(model, load) if load.engine == "llamacpp" else _transformers(model, load)


def can_be_gguf(model: Base) -> bool:
    """Whether llama.cpp can run it: it is a GGUF file, or of a kind that we can repack here."""
    if model.checkpoint is None:
        return True
    if find_spec("gguf") is None:
        return False
    from lightkorllm.repacking import architectures

    return model.model_type in architectures.known()


def as_gguf(model: Base) -> int:
    """Bytes of the weights as llama.cpp reads them: a GGUF file, or what repacking makes.

    A scale in 16 bit for each 32 weights; embeddings that outweigh the layers become Q8_0.
    """
    shape, gptq = model.shape, model.checkpoint.gptq if model.checkpoint else None
    if gptq is None:
        return shape.stored
    outer = shape.parameters - shape.linear
    bits = gptq.bits + (0.5 if gptq.sym else 1)
    return int(shape.linear * bits / 8 + outer * (8.5 / 8 if outer > shape.linear else 2))


def cache_bytes(shape: Shape, load: Load) -> int:
    """Bytes of the keys and values of all requests.

    Our llama.cpp keeps whole contexts in local layers too: their start stays known across turns.
    """
    if load.engine == "llamacpp":
        numbers = shape.cached(load.context, whole=True)
        return int(numbers * load.requests * _KV_BITS[load.kv_type] / 8)
    return shape.cached(load.context) * load.requests * _WIDTH[load.dtype]


def _llamacpp(model: Base, load: Load) -> Need:
    shape = model.shape
    weights, cache = as_gguf(model), cache_bytes(shape, load)
    numbers = 4 * (4 * shape.hidden + 3 * shape.intermediate)
    masks = 2 * load.context * (2 if shape.window else 1)
    activations = _UBATCH * (numbers + masks) + load.requests * shape.vocabulary * 4
    if load.on_card:  # all of it is reserved at once
        return Need(weights, cache, activations, _CARD, weights + cache + activations + _CARD)
    copied, overhead = _interleaved(model), _CHILD + _WORD * shape.vocabulary
    loaded = weights + copied + cache + overhead
    return Need(weights, cache, activations, overhead, loaded, copied)


def _interleaved(model: Base) -> int:
    gptq = model.checkpoint.gptq if model.checkpoint else None
    if gptq and gptq.bits == 4 and gptq.sym:  # Q4_0
        return int(model.shape.linear * 4.5 / 8)
    return model.shape.interleaved


def _transformers(model: Base, load: Load) -> Need:
    shape, width = model.shape, _WIDTH[load.dtype]
    weights, cache = shape.loaded(width), cache_bytes(shape, load)
    chunk = _CHUNK[load.on_card]
    activations = chunk * 4 * (4 * shape.hidden + 3 * shape.intermediate)
    if shape.kv_heads < shape.heads:  # one layer's keys and values, repeated for every head
        activations += 2 * load.requests * load.context * shape.heads * shape.head_dim * width
    activations += 3 * 4 * load.requests * shape.vocabulary
    if shape.packed:  # one layer at a time is unpacked for a prompt
        activations += 2 * shape.hidden * shape.intermediate * width
    overhead = _CARD if load.on_card else _TORCH
    return Need(weights, cache, activations, overhead, weights + overhead)
