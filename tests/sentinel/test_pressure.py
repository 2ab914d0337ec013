"""Pressure keeps one caller over its limit at a bounded cost; an experiment without refusals is no pass."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from sentinel.cost import Cost, conclude
from sentinel.costing import CostSettings, cost
from sentinel.drivers.driver import Request
from sentinel.drivers.limiter import LimiterDriver
from sentinel.exit_codes import ExitCode
from sentinel.observations import Observation
from sentinel.overhead import Difference, Overhead
from sentinel.pressure import press
from threshold import Limiter, MemoryStore, TokenBucket

SECOND = 1_000_000_000


class Simulated:
    """A limit of so many per second, and a clock that jumps to whatever is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_second: int) -> None:
        self.now_ns, self.asked = 100 * SECOND, Counter[bool]()
        self._limiter = Limiter(
            TokenBucket(f"{per_second}/second", burst=max(1, per_second // 20)),
            MemoryStore(clock=lambda: self.now_ns // 1_000),
        )
        self.free = 0
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)

    async def ask(self) -> Observation:
        allowed = self._limiter.acquire("hammer").allowed
        self.asked[allowed] += 1
        return Observation(self.now_ns, self.now_ns, allowed)

    async def wake(self, instant_ns: int) -> None:
        self.now_ns = max(self.now_ns, instant_ns)
        if self.now_ns > 110 * SECOND:
            raise asyncio.CancelledError


@pytest.mark.parametrize(("per_second", "most"), [(5, 2_000), (500, 2_000), (1_500, 4_000)])
def test_what_a_limit_gives_back_is_used_up_without_asking_much_more_often(
    monkeypatch: pytest.MonkeyPatch, per_second: int, most: int
) -> None:
    world = Simulated(monkeypatch, per_second)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(press(world.ask, world.wake, most=most))
    assert world.asked[True] >= 0.6 * 10 * per_second, "most of what flowed in was used up"
    assert world.asked.total() <= 10 * min(most, max(60, 4 * per_second)), "and not at any price"


def test_no_more_is_asked_than_is_allowed_where_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Simulated(monkeypatch, 1_000_000)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(press(world.ask, world.wake, most=1_000))
    assert 9_000 <= world.asked.total() <= 10_100


def test_a_pulse_leaves_half_of_the_time_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Simulated(monkeypatch, 1_000_000)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(press(world.ask, world.wake, most=1_000, pulse=True))
    assert 4_000 <= world.asked.total() <= 6_000


def request(key: str) -> Request:
    return Request("GET", "/", key=key)


def measured(per_second: int, *, one_caller: bool = False) -> tuple[Cost, ...]:
    limiter = Limiter(TokenBucket(f"{per_second}/second", burst=50), MemoryStore())
    open_to_all = Limiter(TokenBucket("1000000/second", burst=1_000_000), MemoryStore())
    on = LimiterDriver(lambda key: limiter.acquire("all" if one_caller else key))
    settings = CostSettings(duration_s=8.0, loads=1, rate=200.0)
    return cost(on, LimiterDriver(open_to_all.acquire), request, settings).entries


def test_refused_requests_are_measured_at_loads_below_the_limit() -> None:
    with ThreadPoolExecutor(2) as side_by_side:
        found = list(side_by_side.map(lambda one_caller: measured(500, one_caller=one_caller), (False, True)))
    for costs in found:
        assert {entry.answer for entry in costs[0].found} == {"allowed", "refused"}
        assert costs[0].failed == 0
        assert conclude(costs, 1e6)[0] is ExitCode.PASS


def one(answer: str, upper_us: float = 20.0) -> Overhead:
    difference = Difference(10.0, 5.0, upper_us)
    return Overhead(answer, 400, 800, 8, 50.0, 40.0, difference, difference)  # type: ignore[arg-type]


def test_what_was_not_measured_at_every_load_is_no_pass() -> None:
    both = (one("allowed"), one("refused"))
    assert conclude([Cost(200.0, both, 0), Cost(500.0, both, 0)], 5_000.0)[0] is ExitCode.PASS
    code, sentence = conclude([Cost(200.0, both, 0), Cost(500.0, both[:1], 0)], 5_000.0)
    assert code is ExitCode.VOID and "refused requests NOT MEASURED at 500 requests/s" in sentence
    assert "within the budget of 5 ms" in sentence
    code, sentence = conclude([Cost(200.0, (one("allowed", 9_000.0),), 0)], 5_000.0)
    assert code is ExitCode.CHECK_FAILED and sentence.startswith("FAILED: not within the budget of 5 ms")


def test_an_experiment_that_was_stopped_fails_for_what_it_found_and_passes_nothing() -> None:
    code, sentence = conclude([Cost(200.0, (one("allowed"), one("refused")), 0)], 5_000.0, stopped=True)
    assert code is ExitCode.VOID and sentence.startswith(
        "PARTIAL, not judged: the experiment was stopped; so far"
    )
    assert conclude([], 5_000.0, stopped=True)[0] is ExitCode.VOID
    code, sentence = conclude([Cost(200.0, (one("allowed", 9_000.0),), 0)], 5_000.0, stopped=True)
    assert code is ExitCode.CHECK_FAILED and "stopped early" in sentence
