"""Contenders: threshold, floors and peers behind one door, for benchmarks of a single limit.

Each returns what a caller needs to answer a request: allowed, remaining, retry-after and reset-after. Peers
that need two calls for that are given both. A peer that is not installed is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from operator import attrgetter, itemgetter
from typing import Any

import floors
from threshold import Limiter, MemoryStore, Rate, SlidingWindow, TokenBucket

YEAR = 365 * 86_400
MOST_KEYS = 200_000


@dataclass(frozen=True, slots=True)
class Contender:
    """One limiter, built.

    `remaining` may charge nothing, or one request where the contender cannot look without charging
    (`looks_cost` says so).
    """

    name: str
    role: str
    call: Callable[[str], object]
    admitted: Callable[[Any], bool]
    remaining: Callable[[str], int]
    looks_cost: int = 0
    one_key: bool = True
    """Fit for a single hot key; a log of every hit is not, as it grows with the benchmark."""


Build = Callable[[int], Contender]


def builders() -> dict[str, Build]:
    """Every contender that is installed, by name; each builds one with a limit per year."""
    found: dict[str, Build] = {
        "threshold token bucket": lambda limit: _ours(
            "threshold token bucket", TokenBucket(Rate(limit, per=YEAR))
        ),
        "threshold sliding window": lambda limit: _ours(
            "threshold sliding window", SlidingWindow(Rate(limit, per=YEAR))
        ),
        "floor with lock": lambda limit: _floor("floor with lock", floors.bucket_with_lock(limit, YEAR)),
        "floor without lock": lambda limit: _floor(
            "floor without lock", floors.bucket_without_lock(limit, YEAR)
        ),
    }
    if find_spec("throttled"):
        found["throttled-py GCRA"] = _throttled
    if find_spec("limits"):
        found |= dict(_limits())
    return found


def _ours(name: str, limit: TokenBucket | SlidingWindow) -> Contender:
    limiter = Limiter(limit, store=MemoryStore())
    return Contender(
        name, "ours", limiter.acquire, attrgetter("allowed"), lambda key: limiter.peek(key).remaining
    )


def _floor(name: str, acquire: Callable[[str], floors.Result]) -> Contender:
    return Contender(
        name, "floor", acquire, attrgetter("allowed"), lambda key: acquire(key).remaining, looks_cost=1
    )


def _throttled(limit: int) -> Contender:
    from datetime import timedelta

    from throttled import RateLimiterType, Throttled, rate_limiter, store

    throttle = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=rate_limiter.per_duration(timedelta(seconds=YEAR), limit=limit, burst=limit),
        store=store.MemoryStore(options={"MAX_SIZE": MOST_KEYS}),
    )
    return Contender(
        "throttled-py GCRA",
        "peer",
        throttle.limit,
        lambda result: not result.limited,
        lambda key: throttle.peek(key).remaining,
    )


def _limits() -> Iterator[tuple[str, Build]]:
    from limits import RateLimitItemPerYear
    from limits.storage import MemoryStorage
    from limits.strategies import (
        FixedWindowRateLimiter,
        MovingWindowRateLimiter,
        RateLimiter,
        SlidingWindowCounterRateLimiter,
    )

    def build(name: str, strategy: type[RateLimiter], limit: int) -> Contender:
        limiter = strategy(MemoryStorage())
        item = RateLimitItemPerYear(limit)
        hit = limiter.hit
        look = limiter.get_window_stats

        def call(key: str) -> object:
            return hit(item, key), look(item, key)

        return Contender(
            name,
            "peer",
            call,
            itemgetter(0),
            lambda key: look(item, key).remaining,
            one_key=strategy is not MovingWindowRateLimiter,
        )

    for title, strategy in (
        ("fixed window", FixedWindowRateLimiter),
        ("sliding counter", SlidingWindowCounterRateLimiter),
        ("moving window", MovingWindowRateLimiter),
    ):
        name = f"limits {title} + stats"
        yield name, lambda limit, name=name, strategy=strategy: build(name, strategy, limit)  # type: ignore[misc]
