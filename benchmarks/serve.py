"""Serving: `POST /inferweb` as a stream, against llama.cpp's own server asked directly.

Both sides have the same model file, settings, prompts and sampling, stay loaded for the whole
run, and take turns. `python benchmarks/serve.py --help` says how to run it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped,unused-ignore]

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/serve.py`

from benchmarks.harness import Machine, Row, arguments, report
from benchmarks.streams import Ask, Event, ask_together

from lightkorllm import chat
from lightkorllm.chat import ChatModel
from lightkorllm.conversation import Conversation
from lightkorllm.engines.llamacpp import LlamaCppEngine
from lightkorllm.options import ServeOptions

TOKENS = 64
STREAMS = (1, 2, 4, 8)
PAIR_TRIES = 8
START_SECONDS = 120.0
MB = 1_000_000

# Under the usual labels the model soon writes the next question itself, and the answer ends.
# Under these it keeps telling, so that nearly every stream has its 64 tokens on both sides.
HUMAN, AI = "아래 제목으로 아주 긴 장편 소설을 한 편 썼습니다. 제목", "소설의 처음"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often each thing is measured."""

    rounds: int
    first_texts: int
    streams: tuple[int, ...] = STREAMS


FULL = Plan(rounds=5, first_texts=40)
QUICK = Plan(rounds=1, first_texts=12)


@dataclass(frozen=True, slots=True)
class Answer:
    """One stream as its reader saw it; times are seconds after the first question was sent."""

    first_text: float
    end: float
    tokens: int
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Turn:
    """All streams of one side in one round; `front_cpu` in seconds, of our front process."""

    tokens: int
    seconds: float
    front_cpu: float


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two servers and how a question is put to it."""

    address: tuple[str, int]
    ask: Callable[[str, int], Ask]
    read: Callable[[Sequence[Event]], Answer]

    def answer(self, questions: Sequence[str], tokens: int = TOKENS) -> list[Answer]:
        asks = [self.ask(question, tokens) for question in questions]
        return [self.read(events) for events in ask_together(self.address, asks)]


@dataclass(frozen=True, slots=True)
class Front:
    """Our server's front process, without llama.cpp's process below it."""

    process: psutil.Process

    def memory(self) -> tuple[float, float]:
        """Resident and unshared memory in MB."""
        memory = self.process.memory_full_info()
        return memory.rss / MB, memory.uss / MB

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def main() -> None:
    command = _arguments()
    plan = QUICK if command.quick else FULL
    if command.rounds:
        plan = replace(plan, rounds=command.rounds)
    options = ServeOptions(
        quantized_model_dir=command.model,
        peft_lora_dir=("none",),
        threads=command.threads,
        n_parallel=max(plan.streams),
        port=_free_port(),
        max_new_token=TOKENS,
        human_str=HUMAN,
        ai_str=AI,
        stop_str=HUMAN,
    )
    machine = Machine.here()
    with _ours(options) as (ours, front), _peer(options) as peer:
        threads = options.threads or "default"
        print(f"{machine}\nserve: {TOKENS} tokens a stream, threads {threads}\n", flush=True)
        rows = _measure(plan, ours, peer, front)
    report(machine, rows, json_file=command.json)


def _arguments() -> argparse.Namespace:
    parser = arguments("/inferweb as a stream, against llama.cpp's own server asked directly")
    parser.add_argument("--threads", type=int, default=0, help="of each llama.cpp; 0: its default")
    parser.add_argument("--rounds", type=int, default=0, help="rounds for each number of streams")
    parser.add_argument("--model", metavar="FILE", help="a GGUF file; the embedded model otherwise")
    return parser.parse_args()


def _measure(plan: Plan, ours: Side, peer: Side, front: Front) -> list[Row]:
    questions = _questions()
    _warm_up(ours, peer, questions, streams=max(plan.streams))
    loaded = front.memory()
    rows = [_first_text(plan.first_texts, ours, peer, questions)]
    for streams in plan.streams:
        rows += _throughput(plan.rounds, streams, (ours, peer, front), questions)
    rss, uss = (max(pair) for pair in zip(loaded, front.memory(), strict=True))
    rows.append(Row.below("front process, resident MB", rss, limit=120, unit="MB"))
    rows.append(Row("front process, unshared MB", uss))
    return rows


def _questions() -> Iterator[str]:
    """Questions whose first syllable is new, so that all share equally little with earlier ones.

    llama.cpp gives a prompt to the slot whose last one begins most alike, and its speed depends
    on which slots work together: neighbours share one batch. Here all slots are always equally
    alike, so both sides fill them from the first one on.
    """
    finals, vowels = (0, 4, 21), (0, 4, 8, 13, 18, 20)
    initials = (0, 2, 3, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18)
    for final, vowel, initial in itertools.cycle(itertools.product(finals, vowels, initials)):
        syllable = chr(0xAC00 + (initial * 21 + vowel) * 28 + final)
        yield f"{syllable} 자로 시작하는 마을에 사는 소년의 이야기"


def _warm_up(ours: Side, peer: Side, questions: Iterator[str], *, streams: int) -> None:
    """Every slot, thread and page has been used once, and the prompts are seen to be the same."""
    asked = [next(questions) for _ in range(streams)]
    for question in asked[:2]:
        (a,), (b,) = ours.answer([question], 4), peer.answer([question], 4)
        assert a.prompt_tokens == b.prompt_tokens, "the two sides were given different prompts"
        assert a.cached_tokens == b.cached_tokens, "the two sides' caches differ"
    ours.answer(asked, 16)
    peer.answer(asked, 16)


def _first_text(pairs: int, ours: Side, peer: Side, questions: Iterator[str]) -> Row:
    times: dict[Side, list[float]] = {ours: [], peer: []}
    for number in range(pairs):
        question = next(questions)
        for side in _in_turn(number, ours, peer):
            (answer,) = side.answer([question], 4)
            times[side].append(answer.first_text * 1000)
    a, b = (statistics.median(times[side]) for side in (ours, peer))
    return Row.adds_less("1 stream, first text after ms", a, b, limit=10, unit="ms")


def _throughput(
    rounds: int, streams: int, sides: tuple[Side, Side, Front], questions: Iterator[str]
) -> list[Row]:
    """Tokens of all streams together by the time the last one ends, and what our front takes."""
    pairs = [_full_pair(number, streams, sides, questions) for number in range(rounds)]
    a, b = (
        statistics.median(turn.tokens / turn.seconds for turn in turns)
        for turns in zip(*pairs, strict=True)
    )
    cpu = sum(turn.front_cpu for turn, _ in pairs) / sum(turn.tokens for turn, _ in pairs)
    name = f"{streams} stream{'s' if streams > 1 else ''}"
    return [
        Row.at_least(f"{name}, tokens/s", a, b, ratio=0.95),
        Row(f"{name}, front CPU ms/token", 1000 * cpu),
    ]


def _full_pair(
    number: int, streams: int, sides: tuple[Side, Side, Front], questions: Iterator[str]
) -> tuple[Turn, Turn]:
    """A turn of ours and one of the peer's with the same questions.

    Where a stream ended early, the others had more room: that pair is measured again.
    """
    ours, peer, front = sides
    for _ in range(PAIR_TRIES):
        asked = [next(questions) for _ in range(streams)]
        turns = {side: _turn(side, asked, front) for side in _in_turn(number, ours, peer)}
        if all(turn.tokens == streams * TOKENS for turn in turns.values()):
            return turns[ours], turns[peer]
    raise SystemExit(f"the model ends its answers before {TOKENS} tokens; measure another one")


def _turn(side: Side, questions: Sequence[str], front: Front) -> Turn:
    before = front.cpu_seconds()
    answers = side.answer(questions)
    return Turn(
        tokens=sum(answer.tokens for answer in answers),
        seconds=max(answer.end for answer in answers),
        front_cpu=front.cpu_seconds() - before,
    )


def _in_turn(number: int, ours: Side, peer: Side) -> tuple[Side, Side]:
    """Each goes first every other time, so that a slow drift of the machine favours neither."""
    return (ours, peer) if number % 2 == 0 else (peer, ours)


@contextmanager
def _ours(options: ServeOptions) -> Iterator[tuple[Side, Front]]:
    """`lightkorllm serve` in its own process."""
    flags = {
        "--port": options.port,
        "--threads": options.threads,
        "--n_parallel": options.n_parallel,
        "--human_str": options.human_str,
        "--ai_str": options.ai_str,
        "--stop_str": options.stop_str,
        "--log_level": "error",
        "--peft_lora_dir": "none",  # the peer is asked for the bare model
    }
    if options.quantized_model_dir:
        flags["--model"] = options.quantized_model_dir
    argv = [sys.executable, "-m", "lightkorllm", "serve"]
    argv += [str(part) for flag in flags.items() for part in flag]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LIGHTKORLLM_")}
    with subprocess.Popen(argv, env=environment) as server:
        try:
            _until_ready(server, f"http://{options.host}:{options.port}/health")
            side = Side((options.host, options.port), _ask_ours, _read_ours)
            yield side, Front(psutil.Process(server.pid))
        finally:
            server.terminate()


def _until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with exit code {server.returncode}")
        try:
            with urlopen(url):
                return
        except OSError:  # not listening yet, or still loading
            time.sleep(0.2)
    raise SystemExit(f"the server was not ready within {START_SECONDS:.0f} seconds")


def _ask_ours(question: str, tokens: int) -> Ask:
    return Ask("/inferweb", {"input": question, "stream": True, "max_new_token": tokens})


def _read_ours(events: Sequence[Event]) -> Answer:
    parsed = [(event.seconds, json.loads(event.data)) for event in events]
    end, last = parsed[-1]
    deltas = ((seconds, data.get("delta", "")) for seconds, data in parsed)
    return _answer(_first(deltas), end, last["usage"], cached=last["usage"]["cached_tokens"])


@contextmanager
def _peer(options: ServeOptions) -> Iterator[Side]:
    """llama.cpp's own server, started with our settings by our own code, then asked directly."""
    model = chat.open_chat(options)
    try:
        engine = model.engine
        assert isinstance(engine, LlamaCppEngine)
        # Its address and key are nobody else's business; only here they are asked for.
        parts = urlsplit(engine._child.url or "")
        key = {"Authorization": f"Bearer {engine._key}"}
        address = (parts.hostname or "", parts.port or 0)
        yield Side(address, _peer_ask(model, options, headers=key), _read_peer)
    finally:
        model.close()


def _peer_ask(
    model: ChatModel, options: ServeOptions, *, headers: dict[str, str]
) -> Callable[[str, int], Ask]:
    """What our server asks of its engine for the same question, without its own extras."""
    defaults = chat.default_params(options)

    def ask(question: str, tokens: int) -> Ask:
        prompt = model.prompt_format.render(Conversation().add("user", question)).text
        body = {
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": defaults.temperature,
            "top_p": defaults.top_p,
            "top_k": defaults.top_k,
            "min_p": defaults.min_p,
            "repeat_penalty": defaults.repetition_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return Ask("/v1/completions", body, headers)

    return ask


def _read_peer(events: Sequence[Event]) -> Answer:
    assert events[-1].data == "[DONE]", "the peer's answer broke off"
    parsed = [(event.seconds, json.loads(event.data)) for event in events[:-1]]
    texts = ((s, choice.get("text", "")) for s, data in parsed for choice in data["choices"])
    usage = parsed[-1][1]["usage"]
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return _answer(_first(texts), events[-1].seconds, usage, cached=cached)


def _first(texts: Iterator[tuple[float, str]]) -> float:
    """When the first text came that a reader can see: ours drops the blank before an answer."""
    return next((seconds for seconds, text in texts if text.strip()), float("nan"))


def _answer(first_text: float, end: float, usage: dict[str, Any], *, cached: int) -> Answer:
    tokens, prompt = usage["completion_tokens"], usage["prompt_tokens"]
    return Answer(first_text, end, tokens, prompt, cached)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    main()
