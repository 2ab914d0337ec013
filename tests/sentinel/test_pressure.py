"""Pressure keeps one caller over its limit at a bounded cost; an experiment without refusals is no pass."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from sentinel.cost import Cost, Pressed, conclude
from sentinel.costing import CostSettings, cost
from sentinel.drivers.driver import Request
from sentinel.drivers.in_process import app_driver
from sentinel.drivers.limiter import LimiterDriver
from sentinel.exit_codes import ExitCode
from sentinel.keyed import FORWARDED, KeyedRequests
from sentinel.observations import Observation
from sentinel.overhead import Difference, Overhead
from sentinel.overhead_run import capacity
from sentinel.pressure import press
from threshold import Limiter, MemoryStore, Policy, TokenBucket
from threshold.asgi import ThresholdMiddleware

SECOND = 1_000_000_000


class Simulated:
    """A limit of so many per second before a handler that takes its time, and a clock that jumps to whatever
    is waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_second: int, takes_ms: int = 0) -> None:
        self.now_ns, self.asked = 100 * SECOND, Counter[bool]()
        self._limiter = Limiter(
            TokenBucket(f"{per_second}/second", burst=max(1, per_second // 20)),
            MemoryStore(clock=lambda: self.now_ns // 1_000),
        )
        self._takes_ns = takes_ms * 1_000_000
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)

    async def ask(self) -> Observation:
        asked_ns = self.now_ns
        allowed = self._limiter.acquire("hammer").allowed
        self.asked[allowed] += 1
        while allowed and self.now_ns < asked_ns + self._takes_ns:
            await asyncio.sleep(0)
        return Observation(asked_ns, self.now_ns, allowed)

    async def wake(self, instant_ns: int) -> None:
        await asyncio.sleep(0)
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
    assert world.asked.total() <= 10 * min(2 * most, max(60, 4 * per_second)), "and not at any price"


@pytest.mark.parametrize(("takes_ms", "per_second"), [(20, 100), (20, 500), (200, 100)])
def test_a_handler_that_takes_its_time_does_not_take_the_pressure_off(
    monkeypatch: pytest.MonkeyPatch, takes_ms: int, per_second: int
) -> None:
    world = Simulated(monkeypatch, per_second, takes_ms)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(press(world.ask, world.wake, most=1.75 * per_second))
    assert world.asked[True] >= 0.85 * 10 * per_second
    assert 0.4 < world.asked[False] / world.asked.total() < 0.75, "refused somewhat more often than not"


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


SLOW = 0.02


async def slow(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("nothing to start")
    await asyncio.sleep(SLOW)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"welcome"})


def measured_slow() -> tuple[Cost, ...]:
    """Measure an ordinary app: each answer takes 20 ms, one caller has 100 a second."""
    policy = Policy(edge=TokenBucket("100/second", burst=20))
    guarded = ThresholdMiddleware(slow, policy=policy, store=MemoryStore())
    settings = CostSettings(duration_s=8.0, loads=1, rate=200.0)
    requests = KeyedRequests("GET", "/", [FORWARDED])
    return cost(app_driver(guarded), app_driver(slow), requests, settings).entries


def measured(per_second: int, *, one_caller: bool = False) -> tuple[Cost, ...]:
    limiter = Limiter(TokenBucket(f"{per_second}/second", burst=50), MemoryStore())
    open_to_all = Limiter(TokenBucket("1000000/second", burst=1_000_000), MemoryStore())
    on = LimiterDriver(lambda key: limiter.acquire("all" if one_caller else key))
    settings = CostSettings(duration_s=8.0, loads=1, rate=200.0)
    return cost(on, LimiterDriver(open_to_all.acquire), request, settings).entries


def test_refused_requests_are_measured_at_loads_below_the_limit() -> None:
    """Where a busy machine leaves too few admitted ones besides, nothing is claimed."""
    three = (lambda: measured(500), lambda: measured(500, one_caller=True), measured_slow)
    with ThreadPoolExecutor(3) as side_by_side:
        found = list(side_by_side.map(lambda one: one(), three))
    both = 0
    for costs in found:
        answers = {entry.answer for entry in costs[0].found}
        assert "refused" in answers
        assert costs[0].failed == 0
        whole = answers == {"allowed", "refused"}
        assert conclude(costs, 1e6)[0] is (ExitCode.PASS if whole else ExitCode.VOID)
        both += whole
    assert both


def one(answer: str, upper_us: float = 20.0, lower_us: float = 5.0) -> Overhead:
    difference = Difference((lower_us + upper_us) / 2, lower_us, upper_us)
    return Overhead(answer, 400, 800, 8, 50.0, 40.0, difference, difference)  # type: ignore[arg-type]


def test_what_was_done_to_be_refused_is_said_where_too_little_was() -> None:
    load = Cost(200.0, (one("allowed"),), 0, pressed=Pressed(1_750, 0, 10.0))
    code, sentence = conclude([load], 5_000.0)
    assert code is ExitCode.VOID
    assert "of 175 requests/s in the name of one caller 0% were refused; choose a --path with" in sentence
    _, sentence = conclude([replace(load, pressed=Pressed(1_750, 875, 10.0))], 5_000.0)
    assert "one caller 50% were refused; give it a longer --duration" in sentence


def test_a_target_that_waits_is_asked_by_more_users_how_much_it_bears() -> None:
    async def waits(_: str) -> Observation:
        await asyncio.sleep(SLOW)
        return Observation(0, 1, True)

    assert asyncio.run(capacity(waits, seconds=0.5)) > 16 / SLOW, "sixteen users never see more"


def test_what_was_not_measured_at_every_load_is_no_pass() -> None:
    both = (one("allowed"), one("refused"))
    assert conclude([Cost(200.0, both, 0), Cost(500.0, both, 0)], 5_000.0)[0] is ExitCode.PASS
    code, sentence = conclude([Cost(200.0, both, 0), Cost(500.0, both[:1], 0)], 5_000.0)
    assert code is ExitCode.VOID and "refused requests NOT MEASURED at 500 requests/s" in sentence
    assert "within the budget of 5 ms" in sentence
    code, sentence = conclude([Cost(200.0, (one("allowed", 9_000.0, 5_001.0),), 0)], 5_000.0)
    assert code is ExitCode.CHECK_FAILED and sentence.startswith("FAILED: not within the budget of 5 ms")


def test_an_experiment_that_was_stopped_fails_for_what_it_found_and_passes_nothing() -> None:
    code, sentence = conclude([Cost(200.0, (one("allowed"), one("refused")), 0)], 5_000.0, stopped=True)
    assert code is ExitCode.VOID and sentence.startswith(
        "PARTIAL, not judged: the experiment was stopped; so far"
    )
    assert conclude([], 5_000.0, stopped=True)[0] is ExitCode.VOID
    code, sentence = conclude([Cost(200.0, (one("allowed", 9_000.0, 5_001.0),), 0)], 5_000.0, stopped=True)
    assert code is ExitCode.CHECK_FAILED and "stopped early" in sentence
