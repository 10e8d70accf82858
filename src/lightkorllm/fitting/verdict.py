"""The answer: what a model takes in a place, whether that fits, and what would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lightkorllm import catalog, embedded, memory
from lightkorllm.errors import OptionError
from lightkorllm.finetuning import plan
from lightkorllm.finetuning.base import Base
from lightkorllm.fitting import changes, learning, serving
from lightkorllm.fitting.changes import Change
from lightkorllm.fitting.options import FitOptions
from lightkorllm.fitting.places import Place
from lightkorllm.fitting.serving import Load

DEFAULT_CONTEXT = 4096
_MOST_CONTEXT = 131_072  # tokens to look at where a model does not tell its own limit
_STEP = 256
_SERVE_PARALLEL = 4
_SHARE_LEARNING = 1.5  # about what LoRA on 4 bit takes beside serving, at 1,000 tokens at once


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that takes memory: its Korean name, bytes, and what they come from."""

    name: str
    size: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `fit` says. `longest` is tokens: a context to serve, or a row to learn; 0 none.

    `loaded` is bytes before the first question, None for training; `spare` bytes of the total
    are given back where something else needs them; `smaller` are names of the
    catalogue that fit in 4 bit where the model does not.
    """

    model: Base
    place: Place
    how: str
    parts: tuple[Part, ...]
    loaded: int | None
    longest: int
    changes: tuple[Change, ...]
    command: str
    notes: tuple[str, ...] = ()
    spare: int = 0
    smaller: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def needed(self) -> int:
        return self.total - self.spare

    @property
    def fits(self) -> bool:
        return self.needed <= self.place.room


def judge(model: Base, place: Place, options: FitOptions) -> Verdict:
    """Whether the model can be served there, or with `options.train` fine-tuned."""
    found = _training(model, place, options) if options.train else _serving(model, place, options)
    share = _SHARE_LEARNING if options.train else 1
    return found if found.fits else replace(found, smaller=smaller(place, share=share))


def smaller(place: Place, *, share: float = 1) -> tuple[str, ...]:
    """The largest models of the catalogue that fit in 4 bit, at most three.

    `share` is how many times the memory of serving they are to find.
    """
    fitting = [e for e in catalog.entries() if e.four_bit * share * memory.GIB <= place.room]
    return tuple(e.name for e in sorted(fitting, key=lambda e: -e.four_bit)[:3])


def _serving(model: Base, place: Place, options: FitOptions) -> Verdict:
    load = _load(model, place, options)
    need = serving.need(model, load)
    longest = _longest(
        lambda tokens: serving.need(model, replace(load, context=tokens)).needed <= place.room,
        model.shape.context or _MOST_CONTEXT,
    )
    per_token = serving.cache_bytes(model.shape, replace(load, context=1, requests=1))
    copy = Part("가중치의 사본", need.copied, "빨리 계산하려고 늘어놓은 것")
    parts = (
        Part("가중치", need.weights, described(model)),
        *([copy] if need.copied else []),
        Part("KV 캐시", need.cache,
             f"{load.context:,}토큰 × 요청 {load.requests}개, 토큰마다 {_kib(per_token)}"),
        Part("중간값", need.activations, "계산하는 동안"),
        Part("그 밖에", need.overhead,
             "CUDA와 라이브러리" if load.on_card else "프로그램과 어휘"),
    )  # fmt: skip
    short = need.needed > place.room
    return Verdict(
        model, place, f"{load.engine}, {_numbers(load)}", parts, need.loaded, longest,
        tuple(changes.that_fit(model, load, place)) if short else (),
        _command(model, load), tuple(_notes(model, place, load)), need.copied,
    )  # fmt: skip


def _load(model: Base, place: Place, options: FitOptions) -> Load:
    engine = options.engine
    if engine == "auto":
        engine = "transformers" if _runs_on_torch(model, place) else "llamacpp"
    if engine == "transformers" and model.checkpoint is None:
        raise OptionError("--engine", "GGUF 모델은 llama.cpp로만 돌립니다")
    wanted = options.context_length or DEFAULT_CONTEXT
    return Load(
        engine=engine,
        on_card=place.kind == "card",
        context=min(wanted, model.shape.context or wanted),
        requests=options.n_parallel,
        dtype=_dtype(model, place),
        kv_type=options.kv_type,
    )


def _runs_on_torch(model: Base, place: Place) -> bool:
    """As `serve` decides: a folder on a card, or one of a kind that can't become GGUF."""
    if model.checkpoint is None:
        return False
    return place.runs_torch or not serving.can_be_gguf(model)


def _dtype(model: Base, place: Place) -> str:
    """As the engine chooses: packed weights on a CPU are multiplied in bfloat16."""
    return "bfloat16" if model.is_gptq and place.kind == "ram" else place.dtype(model.model_type)


def _longest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest multiple of 256 tokens up to the limit, or the limit, that fits; 0 if none."""
    low, high = 0, limit // _STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * _STEP) else (low, middle - 1)
    if low == limit // _STEP and limit % _STEP and fits(limit):
        return limit
    return low * _STEP


def described(model: Base) -> str:
    """Parameters and format, for people."""
    count = f"{model.shape.parameters / 1e9:.2f}B"
    gptq = model.checkpoint.gptq if model.checkpoint else None
    if gptq:
        return f"{count}, GPTQ {gptq.bits}비트 g{gptq.group_size}"
    bits = model.shape.stored * 8 / max(1, model.shape.parameters)
    return f"{count}, {'GGUF ' if model.checkpoint is None else ''}가중치마다 {bits:.1f}비트"


def _numbers(load: Load) -> str:
    return f"KV {load.kv_type}" if load.engine == "llamacpp" else load.dtype


def _kib(size: int) -> str:
    return f"{size / 1024:.0f} KB"


def _command(model: Base, load: Load) -> str:
    words = ["lightkorllm serve"]
    words += [] if model.name == embedded.NAME else [f"--model {model.name}"]
    words += [f"--context_length {load.context}", f"--n_parallel {load.requests}"]
    if load.engine == "llamacpp" and load.kv_type != "f16":
        words.append(f"--kv_type {load.kv_type}")
    return " ".join(words)


def _notes(model: Base, place: Place, load: Load) -> Iterator[str]:
    if model.shape.window and load.engine == "llamacpp":
        yield (
            f"{model.shape.local}개 층은 {model.shape.window:,}토큰만 보지만, 대화의 앞부분을 다시 "
            "계산하지 않도록 KV 캐시는 모든 층이 문맥 전체를 담습니다."
        )
    usual = serving.need(model, replace(load, requests=_SERVE_PARALLEL))
    if load.requests < _SERVE_PARALLEL and usual.needed > place.room:
        yield (
            f"serve의 기본값은 동시에 {_SERVE_PARALLEL}개라 {memory.text(usual.needed)}까지 "
            f"듭니다. --n_parallel {load.requests}을(를) 꼭 함께 주세요."
        )
    if copied := serving.need(model, load).copied:
        yield (
            f"사본을 만든 뒤의 파일 쪽 {memory.text(copied)}는 다시 읽지 않으므로, 모자라면 "
            "운영체제가 되찾습니다."
        )
    if load.engine == "llamacpp" and place.kind == "ram":
        yield "자리를 잃은 대화의 프롬프트 캐시가 256 MB까지, 서버가 50 MB쯤 더 듭니다."
    if load.engine == "llamacpp" and place.kind == "card" and place.maker != "apple":
        yield "카드에서 돌리려면 GPU용 xllamacpp가 있어야 합니다(docs/engines.md#gpu)."
    if place.advice and model.checkpoint is not None:
        yield place.advice


def _training(model: Base, place: Place, options: FitOptions) -> Verdict:
    load = learning.load(model, place, options)
    need = plan.need(model, load)
    parts = (
        Part("가중치", need.weights, described(model)),
        Part("어댑터", need.adapter, f"LoRA 랭크 {options.lora_rank}와 최적화기의 상태"),
        Part("중간값", need.activations,
             f"{load.tokens:,}토큰, gradient checkpointing {'켬' if load.checkpointing else '끔'}"),
        Part("로짓", need.logits, f"배우는 {load.learned:,}토큰 × 어휘 {model.shape.vocabulary:,}"),
        Part("그 밖에", need.total - need.weights - need.adapter - need.activations - need.logits,
             "파이썬과 torch"),
    )  # fmt: skip
    longest = _longest(
        lambda tokens: learning.row_fits(model, load, place, tokens),
        model.shape.context or _MOST_CONTEXT,
    )
    ways = learning.milder(model, place, options) if need.total > place.room else ()
    return Verdict(
        model, place, f"LoRA, {load.dtype}, {learning.KERNELS[load.kernel]}", parts, None, longest,
        tuple(Change(words, total) for words, total in ways),
        learning.command(model, options), tuple(learning.notes(model, place)),
    )  # fmt: skip
