"""The running batch: one thread computes, requests join and leave between two tokens.

A newcomer's prompt is read alone, a piece at a time, between steps of those who answer already;
then its row joins the batch of its adapter (rows of different adapters can't be computed at once).
"""

from __future__ import annotations

import gc
import inspect
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lightkorllm.engines.kv_cache import RowCache
from lightkorllm.engines.sampling import Rated, Sampler
from lightkorllm.errors import EngineError, EngineFailed, EngineUnavailable
from lightkorllm.generation import FinishReason, SamplingParams

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """One more token of an answer."""

    id: int
    rated: Rated | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The answer is over; `tokens` counts the end token too, where it came."""

    reason: FinishReason
    tokens: int


Event = Token | End | EngineError


class Job:
    """A prompt to be continued, and where its reader finds what comes of it."""

    def __init__(
        self, prompt: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> None:
        self.prompt = list(prompt)
        self.params = params
        self.adapter = adapter
        self.left = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def tell(self, event: Event) -> None:
        self._events.put(event)

    def next(self, patience: float) -> Event | None:
        """The next event; None where none comes within so many seconds."""
        try:
            return self._events.get(timeout=patience)
        except queue.Empty:
            return None

    def leave(self) -> None:
        """The reader wants no more: the row goes before the next token."""
        self.left = True


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the batch. `length` tokens are in the cache, `newest` is not yet."""

    job: Job
    sampler: Sampler
    length: int
    newest: int = 0
    count: int = 0
    done: bool = False


@dataclass(slots=True, eq=False)
class _Reading:
    """A prompt of which `done` tokens have been read."""

    job: Job
    cache: RowCache
    done: int = 0


@dataclass(slots=True, eq=False)
class _Group:
    """The rows that one adapter answers, and their cache."""

    rows: list[Row] = field(default_factory=list)
    cache: RowCache | None = None

    def keep(self, rows: list[Row]) -> None:
        if len(rows) == len(self.rows):
            return
        if rows and self.cache is not None:
            places = [place for place, row in enumerate(self.rows) if row in rows]
            self.cache.keep(places, longest=max(row.length for row in rows))
        self.rows = rows
        if not rows:
            self.cache = None


Search = Callable[[Job, Callable[[], bool]], list[int]]
"""Beam search: a job, and what is called between steps (False: stop) → the answer's ids."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`context` and `chunk` are in tokens; `ends` are ids."""

    ends: frozenset[int]
    context: int
    chunk: int = 128
    threads: int = 1


class Batch:
    """Answers jobs with `model` on its own thread. `use` switches the model to an adapter."""

    def __init__(
        self,
        model: Any,
        limits: Limits,
        *,
        use: Callable[[str | None], None],
        search: Search,
    ) -> None:
        self._model: Any = model
        self._device = model.device
        self._limits = limits
        self._use: Any = use
        self._search: Any = search
        self._cache_name = _cache_name(model)
        self._lock = threading.Condition()
        self._arrivals: deque[Job] = deque()
        self._beams: deque[Job] = deque()
        self._reading: _Reading | None = None
        self._groups: dict[str | None, _Group] = {}
        self._searching: Job | None = None
        self._closing = False
        RowCache.empty(model.config)  # refuses what can't be batched before anything is asked
        self._thread = threading.Thread(target=self._work, name="transformers", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def add(self, job: Job) -> None:
        """Raises `EngineUnavailable` where nobody works any more."""
        with self._lock:
            if not self.alive:
                raise EngineUnavailable("엔진이 멈춰 있습니다. 서버를 다시 시작해 주세요.")
            self._arrivals.append(job)
            self._lock.notify()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        torch.set_num_threads(self._limits.threads)
        try:
            with torch.inference_mode():
                while self._wait_for_work():
                    self._turn()
        finally:
            self._abandon()

    def _wait_for_work(self) -> bool:
        with self._lock:
            self._lock.wait_for(lambda: self._closing or self._has_work())
            return not self._closing

    def _has_work(self) -> bool:
        waiting = self._arrivals or self._reading or self._beams
        return bool(waiting) or any(group.rows for group in self._groups.values())

    def _turn(self) -> None:
        """A piece of one prompt, then one token for everybody who answers."""
        self._sort_arrivals()
        self._read_on()
        for adapter, group in list(self._groups.items()):
            group.keep([row for row in group.rows if not row.job.left])
            if group.rows:
                self._step(adapter, group)
        if self._beams and not self._searching:
            self._search_for(self._beams.popleft())

    def _sort_arrivals(self) -> None:
        with self._lock:
            jobs = [job for job in self._arrivals if not job.left]
            self._arrivals.clear()
            self._arrivals.extend(job for job in jobs if job.params.num_beams == 1)
            self._beams.extend(job for job in jobs if job.params.num_beams > 1)

    def _read_on(self) -> None:
        if self._reading is None or self._reading.job.left:
            self._reading = self._next_reading()
        reading = self._reading
        if reading is None:
            return
        job, start = reading.job, reading.done
        piece = job.prompt[start : start + self._limits.chunk]
        try:
            logits = self._forward([piece], [start], cache=reading.cache, adapter=job.adapter)
            reading.done += len(piece)
            if reading.done == len(job.prompt):
                self._admit(reading, logits)
        except RuntimeError as error:
            self._reading = None
            del reading
            self._fail(job, error)
            return
        if reading.done == len(job.prompt):
            self._reading = None

    def _next_reading(self) -> _Reading | None:
        with self._lock:
            if not self._arrivals:
                return None
            job = self._arrivals.popleft()
        return _Reading(job, RowCache.empty(self._model.config))

    def _admit(self, reading: _Reading, logits: torch.Tensor) -> None:
        job = reading.job
        room = min(job.params.max_tokens, self._limits.context - len(job.prompt))
        sampler = Sampler(job.params, job.prompt, room=max(room, 1), device=self._device)
        row = Row(job, sampler, length=len(job.prompt))
        self._choose([row], logits)
        if row.done:
            return
        group = self._groups.setdefault(job.adapter, _Group())
        group.cache = group.cache.joined(reading.cache) if group.cache else reading.cache
        group.rows.append(row)

    def _step(self, adapter: str | None, group: _Group) -> None:
        try:
            logits = self._forward(
                [[row.newest] for row in group.rows],
                [row.length for row in group.rows],
                cache=group.cache,
                adapter=adapter,
            )
        except RuntimeError as error:
            self._sacrifice(group, error)
            return
        for row in group.rows:
            row.length += 1
        self._choose(group.rows, logits)
        group.keep([row for row in group.rows if not row.done])

    def _sacrifice(self, group: _Group, error: RuntimeError) -> None:
        """Out of memory: the longest row goes, so that the others may go on. Else: all go."""
        longest = max(group.rows, key=lambda row: row.length)
        fallen = [longest] if isinstance(error, torch.OutOfMemoryError) else group.rows
        group.keep([row for row in group.rows if row not in fallen])
        for row in fallen:
            self._fail(row.job, error)

    def _forward(
        self,
        ids: list[list[int]],
        lengths: list[int],
        *,
        cache: RowCache | None,
        adapter: str | None,
    ) -> torch.Tensor:
        """Logits of each row's next token, [rows, vocabulary], in float32."""
        assert cache is not None
        self._use(adapter)
        ends = torch.tensor(lengths, device=self._device)[:, None]
        steps = torch.arange(len(ids[0]), device=self._device)
        output = self._model(
            input_ids=torch.tensor(ids, device=self._device),
            attention_mask=self._mask(lengths, cache.length, new=len(ids[0])),
            position_ids=ends + steps,
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: cache},
        )
        cache.commit()
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _mask(self, lengths: list[int], columns: int, *, new: int) -> torch.Tensor | None:
        """Which columns hold a row's own tokens; None where all do."""
        if all(length == columns for length in lengths):
            return None
        first = torch.tensor([columns - length for length in lengths], device=self._device)
        return torch.arange(columns + new, device=self._device)[None] >= first[:, None]

    def _choose(self, rows: list[Row], logits: torch.Tensor) -> None:
        """The next token of each row. A row whose logits are no numbers fails, and only it."""
        sound = torch.isfinite(logits.amax(dim=-1)).tolist()
        for row, good in zip(rows, sound, strict=True):
            if not good:
                row.done = True
                row.job.tell(_not_a_number())
        places = [place for place, row in enumerate(rows) if not row.done]
        if not places:
            return
        chosen = [rows[place].sampler.choose(logits[place : place + 1]) for place in places]
        for place, token in zip(places, torch.cat(chosen).tolist(), strict=True):
            self._say(rows[place], token, logits[place : place + 1])

    def _say(self, row: Row, token: int, logits: torch.Tensor) -> None:
        row.newest = token
        row.count += 1
        if token in self._limits.ends:
            row.done = True
            row.job.tell(End("stop", row.count))
            return
        row.job.tell(Token(token, row.sampler.rate(logits, token)))
        full = row.length + 1 >= self._limits.context
        if full or row.count >= row.job.params.max_tokens:
            row.done = True
            row.job.tell(End("length", row.count))

    def _search_for(self, job: Job) -> None:
        """A beam search; everybody else goes on between its steps."""
        if job.left:
            return
        self._searching = job
        try:
            self._use(job.adapter)
            ids = self._search(job, lambda: self._between_beams(job))
        except RuntimeError as error:
            self._searching = None
            self._fail(job, error)
            return
        self._searching = None
        ended = bool(ids) and ids[-1] in self._limits.ends
        for token in ids[:-1] if ended else ids:
            job.tell(Token(token))
        job.tell(End("stop" if ended else "length", len(ids)))

    def _between_beams(self, job: Job) -> bool:
        self._turn()
        self._use(job.adapter)
        return not job.left and not self._closing

    def _fail(self, job: Job, error: RuntimeError) -> None:
        """Tell the reader, and give back the memory that the failed work still holds."""
        error.__traceback__ = None  # its frames hold tensors
        job.tell(_explained(error))
        log.error("요청 하나가 실패했습니다: %s", str(error).partition("\n")[0])
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _abandon(self) -> None:
        with self._lock:
            self._closing = True
            jobs = [*self._arrivals, *self._beams]
        jobs += [self._reading.job] if self._reading else []
        jobs += [self._searching] if self._searching else []
        jobs += [row.job for group in self._groups.values() for row in group.rows]
        self._groups.clear()
        self._reading = None
        self._model = self._use = self._search = None  # what they hold is large
        for job in jobs:
            job.tell(EngineUnavailable("엔진을 끝내는 중입니다. 잠시 뒤 다시 시도해 주세요."))


def _cache_name(model: Any) -> str:
    """transformers renamed the argument in 5.20-something; the old name warns since."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def _explained(error: RuntimeError) -> EngineFailed:
    if isinstance(error, torch.OutOfMemoryError):
        return EngineFailed(
            "메모리가 모자라 이 답을 만들지 못했습니다. 질문을 줄이거나 max_new_token을 낮추거나, "
            "동시에 묻는 수(--n_parallel)나 --context_length를 줄여 주세요. "
            "GGUF 모델은 메모리를 덜 씁니다."
        )
    return EngineFailed(f"모델이 계산하다 멈췄습니다: {str(error).partition(chr(10))[0][:200]}")


def _not_a_number() -> EngineFailed:
    return EngineFailed(
        "모델의 계산 결과가 수가 아닙니다(NaN). GTX 16 계열에서 float16으로 계산할 때 흔한 "
        "일입니다. GGUF 모델을 llama.cpp 엔진으로 쓰거나 --device cpu로 시작해 보세요."
    )
