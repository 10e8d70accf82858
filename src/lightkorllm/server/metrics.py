"""`GET /metrics`: what the server has done and how busy it is, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lightkorllm.server.loading import ModelHolder
from lightkorllm.server.visit import Visit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "other"  # clients must not be able to make new series
METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})

FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120)
PER_TOKEN_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1)


class Metrics:
    """One server's numbers, in a registry of its own."""

    def __init__(self, holder: ModelHolder) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "lightkorllm_requests",
            "Requests by route, method and status, counted when their answer ends.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._prompt_tokens = Counter(
            "lightkorllm_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self._cached_tokens = Counter(
            "lightkorllm_cached_tokens",
            "Tokens of prompts that were not computed again.",
            registry=registry,
        )
        self._completion_tokens = Counter(
            "lightkorllm_completion_tokens", "Tokens of answers.", registry=registry
        )
        self._cancelled = Counter(
            "lightkorllm_cancelled_requests",
            "Answers whose client left before the end.",
            registry=registry,
        )
        self._failed = Counter(
            "lightkorllm_failed_answers",
            "Answers that broke off, also in the middle of a stream.",
            registry=registry,
        )
        self._first_token = Histogram(
            "lightkorllm_time_to_first_token_seconds",
            "From a request's arrival to its first token, waiting in line included.",
            buckets=FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._per_token = Histogram(
            "lightkorllm_time_per_token_seconds",
            "Mean time from one token to the next, once for each answered request.",
            buckets=PER_TOKEN_BUCKETS,
            registry=registry,
        )
        registry.register(_EngineNumbers(holder))

    def count(self, visit: Visit) -> None:
        """Add a visit that has ended."""
        method = visit.method if visit.method in METHODS else OTHER
        self._requests.labels(visit.route or OTHER, method, str(visit.status)).inc()
        answer = visit.answer
        self._prompt_tokens.inc(answer.prompt_tokens)
        self._cached_tokens.inc(answer.cached_tokens)
        self._completion_tokens.inc(answer.completion_tokens)
        self._cancelled.inc(answer.cancelled)
        self._failed.inc(bool(answer.error))
        if visit.first_token_seconds is not None:
            self._first_token.observe(visit.first_token_seconds)
        if visit.seconds_per_token is not None:
            self._per_token.observe(visit.seconds_per_token)

    def page(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineNumbers(Collector):
    """What only the engine knows, read when it is asked for; never loads a model."""

    def __init__(self, holder: ModelHolder) -> None:
        self._holder = holder

    def collect(self) -> Iterable[Metric]:
        model = self._holder.loaded
        slots = model.engine.slots if model else None
        loaded = model is not None and model.engine.ready
        yield _gauge("model_loaded", "Whether the model is in memory and can answer.", int(loaded))
        yield _gauge("slots", "Answers that can be made at once.", slots.count if slots else 0)
        yield _gauge("busy_slots", "Answers being made.", slots.busy if slots else 0)
        yield _gauge("queue_length", "Requests waiting in line.", slots.waiting if slots else 0)
        yield CounterMetricFamily(
            "lightkorllm_engine_restarts",
            "How often the engine was started again after a crash.",
            value=model.engine.restarts if model else 0,
        )


def _gauge(name: str, meaning: str, value: int) -> Metric:
    return GaugeMetricFamily(f"lightkorllm_{name}", meaning, value=value)
