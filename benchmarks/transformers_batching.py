"""The transformers engine's running batch, against the original's loop of `model.generate`.

Both sides compute with the same loaded model, kernel and threads, greedily, the same prompts that
arrive at the same moments: ours joins them in one batch, the loop answers them in order.
`python benchmarks/transformers_batching.py --model FOLDER` with a GPTQ or plain checkpoint.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as in serve.py

from benchmarks.harness import Machine, Row, arguments, report

from lightkorllm.engines.transformers import TransformersEngine, TransformersSettings
from lightkorllm.generation import GenerationRequest, Reply, SamplingParams

TOKENS = 64
REQUESTS = (1, 2, 4, 8)
GAP = 0.1  # seconds between two arrivals
THINGS = "소년 바다 겨울 학교 고양이 기차 편지 시장".split()

Answerer = Callable[[list[str]], float]
"""Prompts that arrive a gap apart → seconds until the last one is answered."""


def main() -> None:
    command = _arguments()
    machine = Machine.here()
    engine = TransformersEngine(
        TransformersSettings(
            command.model,
            device=command.device,
            dtype=command.dtype,
            n_parallel=max(REQUESTS),
            threads=command.threads,
        )
    )
    try:
        how = f"{engine.compute.device}, {engine.compute.dtype}, {_kernel(engine)}"
        print(f"{machine}\n{engine.info.name}: {how}, {TOKENS} tokens a request\n", flush=True)
        rows = _measure(engine, rounds=1 if command.quick else command.rounds, how=how)
    finally:
        engine.close()
    report(machine, rows, json_file=command.json)


def _arguments() -> argparse.Namespace:
    parser = arguments("requests together, against a loop of model.generate")
    parser.add_argument("--model", metavar="FOLDER", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="torch's name; the engine's own choice")
    parser.add_argument("--threads", type=int, default=0, help="0: the engine's default")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def _kernel(engine: TransformersEngine) -> str:
    kernels = {type(part).__name__ for part in engine.model.modules() if hasattr(part, "qweight")}
    return ", ".join(sorted(kernels)) or "plain weights"


def _measure(engine: TransformersEngine, *, rounds: int, how: str) -> list[Row]:
    sides = (_together(engine), _one_by_one(engine))
    for side in sides:
        side(_prompts(max(REQUESTS)))  # warmed up
    rows = []
    for count in REQUESTS:
        ours, peer = _rates(sides, count, rounds)
        name = f"{count} request{'s' if count > 1 else ''}, tokens/s ({how})"
        if count == max(REQUESTS):
            rows.append(Row.at_least(name, ours, peer, ratio=2.5))
        else:
            rows.append(Row.of(name, ours, peer))
    return rows


def _rates(sides: tuple[Answerer, Answerer], count: int, rounds: int) -> tuple[float, float]:
    """Median tokens/s of both sides, who take turns at going first."""
    seconds: dict[Answerer, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            seconds[side].append(side(_prompts(count)))
    ours, peer = (count * TOKENS / statistics.median(seconds[side]) for side in sides)
    return ours, peer


def _prompts(count: int) -> list[str]:
    return [
        f"아래는 {thing}에 관한 긴 이야기입니다. 천천히 끝까지 들려 드리겠습니다.\n\n옛날에"
        for thing in THINGS[:count]
    ]


def _together(engine: TransformersEngine) -> Answerer:
    """Ours: each request on its own thread, as a server asks. An end may not come early."""
    never = tuple((end, -100.0) for end in engine._vocabulary.ends)
    params = SamplingParams(TOKENS, temperature=0, repetition_penalty=1, logit_bias=never)

    def ask(number: int, prompt: str) -> None:
        time.sleep(number * GAP)
        reply = Reply.join(engine.stream(GenerationRequest(prompt, params)))
        assert reply.usage.completion_tokens == TOKENS

    def answer(prompts: list[str]) -> float:
        threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(prompts)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    return answer


def _one_by_one(engine: TransformersEngine) -> Answerer:
    """The original's way: `generate` for one request, then for the next."""
    import torch

    ends = sorted(engine._vocabulary.ends)

    def answer(prompts: list[str]) -> float:
        torch.set_num_threads(engine.threads)
        began = time.perf_counter()
        for number, prompt in enumerate(prompts):
            time.sleep(max(0.0, began + number * GAP - time.perf_counter()))
            ids = torch.tensor([engine._vocabulary.encode(prompt)], device=engine.model.device)
            found = engine.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                min_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=0,
            )
            assert found.shape[1] == ids.shape[1] + TOKENS
        return time.perf_counter() - began

    return answer


if __name__ == "__main__":
    main()
