"""Many clients on the echo engine: what our front adds to each token, and whether it stays flat.

`python benchmarks/load.py [--clients 100] [--seconds 60] [--json FILE]`. The engine says a token
every 50 ms by the clock, so what a client waits beyond that is ours (and the scheduler's).
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/load.py`

from benchmarks.harness import Machine, Row, arguments, report

PACE = 0.05  # seconds between two tokens of the scripted engine
TOKENS = 40

SERVER = """
import sys
from lightkorllm import prompts
from lightkorllm.chat import ChatModel
from lightkorllm.engines.echo import EchoEngine, saying
from lightkorllm.options import ServeOptions
from lightkorllm.prompts.base import Settings
from lightkorllm.server.app import create_app
from lightkorllm.server.door import Door
from lightkorllm.server.loading import ModelHolder
clients = int(sys.argv[1])
engine = EchoEngine(saying(*["가"] * {tokens}), slots=clients, queue=10, delay={pace})
model = ChatModel(engine, prompts.get("lightkor", Settings()))
door = Door("127.0.0.1", 0)
print(door.port, flush=True)
door.serve(create_app(ModelHolder.of(model), ServeOptions()), threads=clients + 20)
"""


async def _one(port: int, gaps: list[float], errors: list[str]) -> None:
    body = json.dumps({"input": "안녕?", "stream": True}).encode()
    head = f"POST /inferweb HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + body)
        last, seen, data = None, 0, b""
        while b'"result"' not in data:
            piece = await asyncio.wait_for(reader.read(65536), timeout=30)
            if not piece:
                errors.append("closed")
                break
            now = time.monotonic()
            count = piece.count(b'"delta"')
            if count and last is not None:
                gaps.append((now - last) / count - PACE)
            last, seen, data = (now if count else last), seen + count, data[-4096:] + piece
        if seen != TOKENS:
            errors.append(f"{seen} tokens")
        writer.close()
    except (OSError, TimeoutError) as error:
        errors.append(str(error))


async def _client(port: int, end: float, gaps: list[float], errors: list[str]) -> int:
    answers = 0
    while time.monotonic() < end:
        await _one(port, gaps, errors)
        answers += 1
    return answers


async def _load(port: int, clients: int, seconds: float) -> tuple[list[float], list[str], int]:
    gaps: list[float] = []
    errors: list[str] = []
    end = time.monotonic() + seconds
    done = await asyncio.gather(*(_client(port, end, gaps, errors) for _ in range(clients)))
    return gaps, errors, sum(done)


def main() -> None:
    machine = Machine.here()
    parser = arguments("many clients on the scripted engine")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    program = SERVER.format(tokens=TOKENS, pace=PACE)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(options.clients)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        process = psutil.Process(server.pid)
        asyncio.run(_load(port, options.clients, 5))  # warm-up
        before = process.memory_info().rss
        gaps, errors, answers = asyncio.run(_load(port, options.clients, options.seconds))
        grown = (process.memory_info().rss - before) / 2**20
        server.kill()
    p99 = statistics.quantiles(gaps, n=100)[98] * 1000
    median = statistics.median(gaps) * 1000
    name = f"{options.clients} clients"
    rows = [
        Row(f"{name}, errors of {answers} answers", len(errors), None, None, "0", not errors),
        Row(f"{name}, added ms per token, median", median, None, None, None, None),
        Row(f"{name}, added ms per token, p99", p99, None, None, "< 5 ms", p99 < 5),
        Row(f"{name}, memory grown MiB", grown, None, None, "< 10 MiB", grown < 10),
    ]
    report(machine, rows, json_file=options.json)


if __name__ == "__main__":
    main()
