"""How much one caller may ask: requests in a time, and answers at once."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from lightkorllm.errors import LimitReached, OptionError

BUSY_RETRY = 2  # seconds; an answer of one's own may have ended by then


class Limits:
    """Counts callers by name. `rate` is such as `30/minute` or `2/second;500/day`; None is none.

    `concurrent` is how many requests of one caller may be answered at once; 0 is any number.
    Raises `OptionError` for a rate that can't be read.
    """

    def __init__(self, rate: str | None = None, *, concurrent: int = 0) -> None:
        self._rates = _parse(rate) if rate else []
        self._concurrent = concurrent
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()
        if self._rates:
            self._window = MovingWindowRateLimiter(MemoryStorage())

    def enter(self, caller: str) -> None:
        """Let a caller's request in, until `leave`. Raises `LimitReached` when it has to wait."""
        with self._lock:
            if 0 < self._concurrent <= self._inside[caller]:
                raise LimitReached(
                    f"한 번에 {self._concurrent}개까지만 물을 수 있습니다. "
                    "앞선 답이 끝난 뒤 다시 보내 주세요.",
                    retry_after=BUSY_RETRY,
                )
            for rate in self._rates:
                if not self._window.test(rate, caller):
                    raise self._too_often(rate, caller)
            for rate in self._rates:
                self._window.hit(rate, caller)
            self._inside[caller] += 1

    def leave(self, caller: str) -> None:
        with self._lock:
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]

    def _too_often(self, rate: RateLimitItem, caller: str) -> LimitReached:
        wait = self._window.get_window_stats(rate, caller).reset_time - time.time()
        seconds = max(1, math.ceil(wait))
        return LimitReached(
            f"너무 자주 물었습니다(한도: {rate.amount}번/{rate.get_expiry()}초). "
            f"{seconds}초 뒤에 다시 시도해 주세요.",
            retry_after=seconds,
        )


def _parse(rate: str) -> list[RateLimitItem]:
    try:
        rates = parse_many(rate)
    except ValueError:
        rates = []
    if not rates or any(item.amount < 1 or item.get_expiry() < 1 for item in rates):
        raise OptionError("--rate_limit", f"`30/minute` 같은 꼴이어야 합니다 (받은 값: {rate!r})")
    return rates
