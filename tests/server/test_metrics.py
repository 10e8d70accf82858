"""`/metrics`: numbers that Prometheus reads, and a dashboard that only asks for those."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import call, events, received, send_raw
from lightkorllm.engines.echo import EchoEngine, Pause, Step, endless, saying
from lightkorllm.errors import EngineFailed
from lightkorllm.generation import TokenChunk
from lightkorllm.server.visit import Answer
from live import LiveServer, Serve

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker" / "grafana" / "lightkorllm.json"
ASK = {"input": "안녕?"}


class Numbers:
    """One reading of `/metrics`, by sample name and labels."""

    def __init__(self, live: LiveServer) -> None:
        page = call(live.port, "/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        families = text_string_to_metric_families(page.body.decode("utf-8"))
        self.samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def __call__(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"lightkorllm_{name}" and labels.items() <= sample.labels.items()
        )


def _soon(live: LiveServer, right: Callable[[Numbers], bool]) -> Numbers:
    """The first reading that is right: answers are counted a moment after they end."""
    end = time.monotonic() + 5
    while not right(numbers := Numbers(live)):
        assert time.monotonic() < end, numbers.samples
        time.sleep(0.02)
    return numbers


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_counted_with_its_tokens_and_times(serve: Serve, stream: bool) -> None:
    live = serve(saying("하나", Pause(0.3), "둘", Pause(0.1), "셋"))
    answer = call(live.port, "/chatweb", {**ASK, "stream": stream})
    usage = (events(answer.body)[-1] if stream else answer.json)["usage"]
    numbers = _soon(live, lambda now: now("requests_total", route="/chatweb") == 1)
    assert numbers("requests_total", route="/chatweb", method="POST", status="200") == 1
    assert numbers("prompt_tokens_total") == usage["prompt_tokens"] > 0
    assert numbers("completion_tokens_total") == usage["completion_tokens"] == 3
    assert numbers("time_to_first_token_seconds_count") == 1
    assert numbers("time_to_first_token_seconds_sum") < 0.3
    assert numbers("time_per_token_seconds_count") == 1
    assert 0.19 < numbers("time_per_token_seconds_sum") < 0.3
    assert numbers("cancelled_requests_total") == 0


def test_waiting_in_line_belongs_to_the_time_to_the_first_token(serve: Serve) -> None:
    live = serve(saying(Pause(0.5), "네"), slots=1)
    with send_raw(live.port, "/inferweb", ASK):
        while not live.engine.slots.busy:
            time.sleep(0.01)
        call(live.port, "/inferweb", ASK)
    numbers = _soon(live, lambda now: now("time_to_first_token_seconds_count") >= 1)
    assert numbers("time_to_first_token_seconds_sum") > 0.45


def test_several_choices_are_counted_all(serve: Serve) -> None:
    live = serve(saying("하나", "둘"))
    body = {"messages": [{"role": "user", "content": "안녕?"}], "n": 3}
    assert call(live.port, "/v1/chat/completions", body).status == 200
    numbers = _soon(live, lambda now: now("completion_tokens_total") > 0)
    assert numbers("completion_tokens_total") == 6
    assert numbers("time_to_first_token_seconds_count") == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_left_is_counted_with_the_tokens_it_cost(serve: Serve, stream: bool) -> None:
    engine = EchoEngine(endless("그 "), delay=0.01)
    live = serve(engine=engine)
    body = {**ASK, "stream": stream, "max_new_token": 2000}
    with send_raw(live.port, "/inferweb", body):
        while engine.steps_played < 5:
            time.sleep(0.01)
    numbers = _soon(live, lambda now: now("cancelled_requests_total") == 1)
    assert numbers("completion_tokens_total") >= 4
    assert numbers("requests_total", route="/inferweb") == 1
    assert numbers("busy_slots") == 0


def test_a_client_that_left_the_line_is_counted_without_tokens(serve: Serve) -> None:
    live = serve(saying(Pause(30), "네"))
    with send_raw(live.port, "/inferweb", {**ASK, "stream": True}):
        while not live.engine.slots.busy:
            time.sleep(0.01)
    numbers = _soon(live, lambda now: now("cancelled_requests_total") == 1)
    assert numbers("completion_tokens_total") == 0
    assert numbers("time_to_first_token_seconds_count") == 0


def test_faults_are_counted_also_in_the_middle_of_a_stream(serve: Serve) -> None:
    steps: list[list[Step]] = [["하나", EngineFailed("고장")], [ZeroDivisionError()], ["네"]]
    live = serve(engine=EchoEngine(lambda request: steps.pop(0)))
    for _ in range(3):
        call(live.port, "/inferweb", {**ASK, "stream": True})
    numbers = _soon(live, lambda now: now("requests_total", route="/inferweb") == 3)
    assert numbers("failed_answers_total") == 2
    assert numbers("requests_total", route="/inferweb", status="500") == 1
    assert numbers("cancelled_requests_total") == 0


def test_the_queue_and_the_slots_are_shown_as_they_are(serve: Serve) -> None:
    live = serve(engine=EchoEngine(endless("그 "), delay=0.05, slots=1, queue=3))
    body = {**ASK, "stream": True, "max_new_token": 2000}
    with send_raw(live.port, "/inferweb", body) as running:
        next(received(running))
        with send_raw(live.port, "/inferweb", body):
            numbers = _soon(live, lambda now: now("queue_length") == 1)
            assert (numbers("busy_slots"), numbers("slots")) == (1, 1)
    assert numbers("model_loaded") == 1
    assert numbers("engine_restarts_total") == 0


def test_restarts_of_the_engine_are_shown(serve: Serve) -> None:
    class Restarted(EchoEngine):
        @property
        def restarts(self) -> int:
            return 7

    assert Numbers(serve(engine=Restarted()))("engine_restarts_total") == 7


def test_clients_cannot_make_new_series(serve: Serve) -> None:
    live = serve()
    for number in range(5):
        call(live.port, f"/nowhere/{number}")
        call(live.port, f"/v1/models/{number}")
        call(live.port, "/health", method=f"BREW{number}")
    numbers = _soon(live, lambda now: now("requests_total") >= 15)
    series = [each.labels for each in numbers.samples if each.name.endswith("requests_total")]
    labelled = [labels for labels in series if labels]
    assert {"route": "other", "method": "GET", "status": "404"} in labelled
    assert {"route": "/v1/models/<path:name>", "method": "GET", "status": "404"} in labelled
    assert len([labels for labels in labelled if labels["route"] != "/metrics"]) == 3


def test_two_servers_in_one_process_count_for_themselves(serve: Serve) -> None:
    one, other = serve(saying("네")), serve(saying("네"))
    call(one.port, "/inferweb", ASK)
    _soon(one, lambda now: now("requests_total", route="/inferweb") == 1)
    assert Numbers(other)("requests_total", route="/inferweb") == 0


def test_metrics_need_a_key_when_there_are_keys(serve: Serve) -> None:
    port = serve(api_key=("k",)).port
    assert call(port, "/metrics").status == 401
    assert call(port, "/metrics", headers={"Authorization": "Bearer k"}).status == 200


def test_counting_costs_far_less_than_a_token() -> None:
    answer, chunk = Answer(), TokenChunk("가", completion_tokens=3)
    best = min(_seconds(answer, chunk) for _ in range(5))
    assert best / 10_000 < 20e-6


def _seconds(answer: Answer, chunk: TokenChunk) -> float:
    started = time.perf_counter()
    for _ in range(10_000):
        answer.see(chunk)
    return time.perf_counter() - started


def _names_in(text: str) -> set[str]:
    return set(re.findall(r"\blightkorllm_\w+", text))


def test_the_dashboard_asks_only_for_numbers_that_exist(serve: Serve) -> None:
    live = serve(saying("네", "네"))
    call(live.port, "/inferweb", ASK)
    numbers = _soon(live, lambda now: now("requests_total", route="/inferweb") == 1)
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    asked = {name for target in targets for name in _names_in(target["expr"])}
    assert len(targets) > 8
    assert asked <= numbers.names
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    created = {name for name in numbers.names if name.endswith("_created")}
    there = {re.sub(r"_(bucket|sum|count)$", "", name) for name in numbers.names - created}
    assert shown == there  # and for all of them


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/en/operations.md"])
def test_the_manual_tells_every_number_and_no_other(serve: Serve, page: str) -> None:
    live = serve(saying("네", "네"))
    call(live.port, "/inferweb", ASK)
    numbers = _soon(live, lambda now: now("requests_total", route="/inferweb") == 1)
    there = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in numbers.names
        if not name.endswith("_created")
    }
    assert _names_in((ROOT / page).read_text(encoding="utf-8")) == there
