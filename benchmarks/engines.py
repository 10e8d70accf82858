"""One GPTQ checkpoint on both engines: llama.cpp over the repacked file, and transformers.

Both answer the same prompts greedily with as many threads, on one stream and on eight that arrive
together. `python benchmarks/engines.py --model FOLDER` with a GPTQ checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as in serve.py

from benchmarks.harness import Machine, Row, arguments, report

from lightkorllm import repacking
from lightkorllm.engines.base import Engine
from lightkorllm.engines.llamacpp import LlamaCppEngine, LlamaCppSettings
from lightkorllm.engines.transformers import TransformersEngine, TransformersSettings
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

TOKENS = 64
GOALS = {1: 3.0, 8: 2.5}
THINGS = "소년 바다 겨울 학교 고양이 기차 편지 시장".split()


def main() -> None:
    command = _arguments()
    machine = Machine.here()
    most = max(GOALS)
    with tempfile.TemporaryDirectory() as scratch:
        file = repacking.to_gguf(command.model, Path(scratch) / "model.gguf").path
        slow = TransformersEngine(
            TransformersSettings(command.model, n_parallel=most, threads=command.threads)
        )
        fast = LlamaCppEngine(
            LlamaCppSettings(
                file, context_length=512, n_parallel=most, threads=command.threads
            )
        )  # fmt: skip
        how = f"{slow.compute.dtype}, {_kernel(slow)}, threads {command.threads}"
        print(f"{machine}\n{slow.info.name}: transformers in {how}\n", flush=True)
        try:
            rows = _measure(fast, slow, rounds=1 if command.quick else command.rounds, how=how)
        finally:
            fast.close()
            slow.close()
    report(machine, rows, json_file=command.json)


def _arguments() -> argparse.Namespace:
    parser = arguments("llama.cpp over the repacked checkpoint, against transformers")
    parser.add_argument("--model", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _kernel(engine: TransformersEngine) -> str:
    kernels = {type(part).__name__ for part in engine.model.modules() if hasattr(part, "qweight")}
    return ", ".join(sorted(kernels)) or "plain weights"


def _measure(fast: Engine, slow: Engine, *, rounds: int, how: str) -> list[Row]:
    for engine in (fast, slow):
        _rate(engine, max(GOALS))  # warmed up
    rows = []
    for count, goal in GOALS.items():
        rates: dict[Engine, list[float]] = {fast: [], slow: []}
        for number in range(rounds):
            for engine in (fast, slow) if number % 2 == 0 else (slow, fast):
                rates[engine].append(_rate(engine, count))
        ours, peer = statistics.median(rates[fast]), statistics.median(rates[slow])
        name = f"{count} stream{'s' if count > 1 else ''}, tokens/s ({how})"
        rows.append(Row.at_least(name, ours, peer, ratio=goal))
    return rows


def _rate(engine: Engine, count: int) -> float:
    """Tokens a second of all streams together, from the first request to the last token."""
    made: list[int] = []

    def ask(thing: str) -> None:
        prompt = f"아래는 {thing}에 관한 긴 이야기입니다. 끝까지 들려 드리겠습니다.\n\n옛날에"
        params = SamplingParams(TOKENS, temperature=0, repetition_penalty=1)
        made.append(
            Reply.join(engine.stream(GenerationRequest(prompt, params))).usage.completion_tokens
        )

    threads = [threading.Thread(target=ask, args=(thing,)) for thing in THINGS[:count]]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
