"""A clock that skips waits: hours pass in no time, and what is under way is timed as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from sentinel.audit import AuditResult
from sentinel.auditing import AuditSettings, audit
from sentinel.drivers.driver import Driver, Request
from sentinel.drivers.limiter import LimiterDriver
from sentinel.observations import Observation
from sentinel.promise import Window
from sentinel.skipping_clock import SkippingClock
from threshold import Limiter, MemoryStore, SlidingWindow

WINDOW = Window(5, 300_000_000, 60)
Clock = Callable[[], int]


def test_those_who_wait_are_woken_in_the_order_of_their_instants_and_never_early() -> None:
    async def main() -> list[int]:
        clock, woken = SkippingClock(), []
        begun = clock.ns()

        async def until(seconds: int) -> None:
            await clock.wake(begun + seconds * 1_000_000_000)
            assert clock.ns() >= begun + seconds * 1_000_000_000
            woken.append(seconds)

        await asyncio.gather(*(until(seconds) for seconds in (7_200, 1, 3_600, 0, 60)))
        return woken

    assert asyncio.run(main()) == [0, 1, 60, 3_600, 7_200]


def test_nothing_is_skipped_while_a_request_is_under_way() -> None:
    async def main() -> None:
        clock, answer = SkippingClock(), asyncio.Event()

        async def send(_: str) -> Observation:
            sent = time.monotonic_ns()
            await answer.wait()
            return Observation(sent, time.monotonic_ns(), True)

        hour = asyncio.ensure_future(clock.wake(clock.ns() + 3_600_000_000_000))
        asked = asyncio.ensure_future(clock.timed(send)("ann"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not hour.done()
        answer.set()
        seen = await asked
        await hour
        assert clock.ns() - seen.done_ns >= 3_590_000_000_000
        assert seen.done_ns - seen.sent_ns < 60_000_000_000, "timed by one clock at both ends"

    asyncio.run(main())


class Fixed:
    """Count in windows of five minutes that begin with the clock's, or with a key's first request."""

    def __init__(self, clock: Clock, *, from_first: bool) -> None:
        self._clock, self._from_first = clock, from_first
        self._kept: dict[str, tuple[int, int]] = {}

    def __call__(self, key: str) -> Fixed:
        now, period = self._clock(), 300_000_000
        start, count = self._kept.get(key, (now if self._from_first else now // period * period, 0))
        if now >= start + period:
            start, count = (now if self._from_first else now // period * period), 0
        self._kept[key] = start, count + 1
        self.allowed, self.retry_after = count < 5, (start + period - now) / 1e6
        return self


def audited(make: Callable[[Clock], Driver]) -> AuditResult:
    def request(key: str) -> Request:
        return Request("GET", "/", key=key)

    settings = AuditSettings(budget_s=20.0)
    return audit(WINDOW, make(lambda: time.monotonic_ns() // 1_000), request, settings, again=make)


@pytest.mark.parametrize(("from_first", "act"), [(True, "boundary-first"), (False, "boundary-clock")])
def test_a_fixed_window_of_minutes_posing_as_sliding_is_caught_in_seconds(from_first: bool, act: str) -> None:
    result = audited(lambda clock: LimiterDriver(Fixed(clock, from_first=from_first)))
    assert result.state == "broken", result.sentence
    found = next(one for one in result.acts if one.name == act)
    assert found.waits_skipped and found.excess >= 4


def test_a_window_of_minutes_that_slides_is_tested_whole_in_seconds() -> None:
    def make(clock: Clock) -> Driver:
        limiter = Limiter(SlidingWindow("5 per 5 minutes", precision=60), MemoryStore(clock=clock))
        return LimiterDriver(limiter.acquire)

    result = audited(make)
    assert result.state == "kept" and not result.left_out, result.sentence
    assert result.retry_after.examined >= 3 and len(result.acts) == 19
    assert "waits skipped in 16 of 19 acts" in result.sentence or "waits skipped in 15" in result.sentence
    assert not {act.name for act in result.acts if act.waits_skipped} & {"control", "barrier", "many-keys"}
