"""The core benchmarks for pytest-benchmark: `pytest benchmarks/test_speed.py --benchmark-only`.

`speed.py` is the one to quote; this one tells a developer quickly what a change did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.insert(0, str(Path(__file__).parent))

from policies import METHOD, PATH, TENANT, TIER, USER, single, whole
from threshold import Caller, Limiter, MemoryStore, Policy, Rate, SlidingWindow, Threshold, TokenBucket

AMPLE = Rate(10_000_000, per=365 * 86_400)


@pytest.mark.parametrize("limit", [TokenBucket(AMPLE), SlidingWindow(AMPLE)], ids=["bucket", "window"])
def test_acquire(benchmark: BenchmarkFixture, limit: TokenBucket | SlidingWindow) -> None:
    limiter = Limiter(limit, store=MemoryStore())
    assert benchmark(limiter.acquire, "alice").allowed


@pytest.mark.parametrize("limit", [TokenBucket("1/year"), SlidingWindow("1/year")], ids=["bucket", "window"])
def test_refuse(benchmark: BenchmarkFixture, limit: TokenBucket | SlidingWindow) -> None:
    limiter = Limiter(limit, store=MemoryStore())
    limiter.require("alice")
    assert not benchmark(limiter.acquire, "alice").allowed


@pytest.mark.parametrize("build", [lambda: single(10_000_000), whole], ids=["one limit", "whole policy"])
def test_check(benchmark: BenchmarkFixture, build: Callable[[], Policy]) -> None:
    guard = Threshold(build(), store=MemoryStore())
    caller = Caller("203.0.113.9", TENANT, TIER, USER, METHOD, PATH)
    verdict = benchmark(guard.check, caller)
    assert verdict.allowed and verdict.headers


def test_check_refused(benchmark: BenchmarkFixture) -> None:
    guard = Threshold(single(1), store=MemoryStore())
    caller = Caller("203.0.113.9", method=METHOD, path=PATH)
    assert guard.check(caller).allowed
    assert not benchmark(guard.check, caller).allowed
