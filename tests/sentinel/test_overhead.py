"""The overhead's interval holds the truth: on simulated series with drift and stalls, and on a sender that
is real."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush

import numpy as np
import pytest

from sentinel.errors import ConfigurationError, TooFewSeconds
from sentinel.observations import Observation
from sentinel.overhead import Difference, Overhead, Samples, overhead, overheads, student_t
from sentinel.overhead_run import capacity, in_turn, loads, measure


def simulated(
    seed: int, added_us: float, *, seconds: int = 16, rate: int = 1_000, refused: float = 0.0
) -> Samples:
    """Draw service times around 300 µs with a long tail, a level that wanders from second to second, and
    stalls."""
    rng = np.random.default_rng(seed)
    n = seconds * rate
    sent = np.sort(rng.integers(0, seconds * 1_000_000_000, n))
    second = sent // 1_000_000_000
    level = np.cumsum(rng.normal(0, 8, seconds)) + rng.exponential(15, seconds)
    took = rng.lognormal(np.log(300), 0.15, n) + level[second]
    stalled = rng.random(n) < 0.002
    took[stalled] += rng.exponential(3_000, int(stalled.sum()))
    on = rng.random(n) < 0.5
    no = rng.random(n) < refused
    took = np.where(on, took + added_us, took)
    took = np.where(on & no, 120.0, took)
    return Samples(sent, on, no, (np.maximum(took, 1) * 1e3).astype(np.int64))


def found(samples: Samples, answer: str = "allowed", resamples: int = 2_000) -> Overhead:
    result = overhead(samples, "refused" if answer == "refused" else "allowed", resamples=resamples)
    assert result is not None
    return result


@pytest.mark.parametrize("added_us", [0, 20, 50, 200])
def test_the_interval_of_the_median_holds_what_was_added_and_is_narrow(added_us: int) -> None:
    result = found(simulated(7, added_us))
    assert result.median.low_us <= added_us <= result.median.high_us
    assert result.median.high_us - result.median.low_us < 12
    assert result.mean.low_us <= added_us <= result.mean.high_us
    assert result.on + result.off == 16_000


def test_ninety_nine_percent_intervals_hold_the_truth_in_nearly_all_of_many_experiments() -> None:
    missed_median = missed_mean = 0
    for seed in range(150):
        result = found(simulated(1_000 + seed, 50, rate=300), resamples=500)
        missed_median += not result.median.low_us <= 50 <= result.median.high_us
        missed_mean += not result.mean.low_us <= 50 <= result.mean.high_us
    # 1.5 misses are expected; more than 6 has a chance below 1 in 1,000 if the interval is honest.
    assert missed_median <= 6
    assert missed_mean <= 6


def test_the_verdict_rests_on_the_upper_end_and_not_on_the_estimate() -> None:
    result = found(simulated(3, 50))
    assert result.within(5_000)
    between = (result.median.value_us + result.upper_us) / 2
    assert not result.within(between) and "too noisy to tell from" in result.verdict(between)
    assert "NOT within" in result.verdict(10) and "within the budget of 5 ms" in result.verdict(5_000)


def test_a_cost_that_falls_on_few_requests_is_seen_by_the_mean() -> None:
    samples = simulated(5, 0)
    rng = np.random.default_rng(1)
    hit = samples.on & (rng.random(len(samples)) < 0.02)
    slow = Samples(samples.sent_ns, samples.on, samples.refused, samples.service_ns + hit * 400_000_000)
    result = found(slow)
    assert result.median.high_us < 5_000, "the median alone would pass it"
    assert not result.within(5_000)


def test_allowed_and_refused_requests_are_told_apart() -> None:
    samples = simulated(9, 40, refused=0.4)
    allowed, refused = found(samples), found(samples, "refused")
    assert allowed.median.low_us <= 40 <= allowed.median.high_us
    assert refused.median.high_us < 0, "a refusal is cheaper than the work it spares"
    assert refused.on_us == pytest.approx(120, rel=0.01)
    assert allowed.on + refused.on == int(samples.on.sum())


def test_nothing_is_claimed_where_nothing_was_refused() -> None:
    assert overhead(simulated(9, 40), "refused") is None
    assert [found.answer for found in overheads(simulated(9, 40))] == ["allowed"]
    assert [found.answer for found in overheads(simulated(9, 40, refused=0.4))] == ["allowed", "refused"]


def test_too_short_an_experiment_is_refused() -> None:
    with pytest.raises(TooFewSeconds, match="5 seconds with both arms; at least 8"):
        overhead(simulated(1, 0, seconds=5), "allowed")
    with pytest.raises(ConfigurationError, match="confidence"):
        overhead(simulated(1, 0), "allowed", confidence=1.0)


def test_the_t_quantile_agrees_with_printed_tables() -> None:
    for freedom, printed in ((7, 3.499), (10, 3.169), (15, 2.947), (30, 2.750), (120, 2.617)):
        assert student_t(0.995, freedom) == pytest.approx(printed, rel=0.002)


class Clock:
    """Stand still until everybody waits, then go on to the first instant that is waited for."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000
        self._waiting: list[tuple[int, int]] = []
        self._number = itertools.count()

    def __call__(self) -> int:
        return self.now_ns

    async def wake(self, instant_ns: int) -> None:
        mine, turns = (instant_ns, next(self._number)), 0
        heappush(self._waiting, mine)
        while turns < 6:  # first for so long that whoever was let go before has begun to wait again
            await asyncio.sleep(0)
            turns = turns + 1 if self._waiting[0] == mine else 0
        heappop(self._waiting)
        self.now_ns = max(self.now_ns, instant_ns)


def test_the_runner_gives_each_request_to_both_arms_and_the_statistic_reads_the_cost_back() -> None:
    clock = Clock()
    rng = np.random.default_rng(2)
    broken = iter(range(10**6))

    async def send(added_us: int, key: str) -> Observation:
        await asyncio.sleep(0)
        assert key in ("ann", "bob")
        took = round(rng.lognormal(np.log(300), 0.1) * 1e3) + added_us * 1_000
        admitted = None if next(broken) % 500 == 499 else True
        return Observation(clock(), clock() + took, admitted, None, 200)

    samples = asyncio.run(
        measure(
            lambda key: send(200, key),
            lambda key: send(0, key),
            rate=400,
            seconds=10,
            seed=4,
            keys=("ann", "bob"),
            wake=clock.wake,
            clock=clock,
        )
    )
    assert 3_500 < len(samples) < 4_500 and samples.failed > 0
    assert samples.on.mean() == 0.5, "who has no answer is left out with the twin"
    result = found(samples)
    assert result.median.low_us <= 200 <= result.median.high_us
    assert 9 <= result.blocks <= 11
    with pytest.raises(ConfigurationError, match="rate is 0"):
        asyncio.run(measure(lambda k: send(0, k), lambda k: send(0, k), rate=0, seconds=10))


class Drowsy:
    """Serve at once while busy, and the later the longer it has idled, behind a bucket or behind none."""

    def __init__(self, clock: Clock, per_second: float | None) -> None:
        self._clock, self._per_second = clock, per_second
        self._idle_since, self._level = 0, 2.0

    async def __call__(self, _: str) -> Observation:
        await asyncio.sleep(0)
        now = self._clock()
        passed_ns, self._idle_since = now - self._idle_since, now
        admitted = True
        if self._per_second is not None:
            self._level = min(2.0, self._level + self._per_second * passed_ns / 1e9)
            admitted = self._level >= 1
            self._level -= admitted
        return Observation(now, now + 100_000 + min(200_000, passed_ns // 20), admitted, None, 200)


def test_servers_alike_that_wake_slowly_differ_in_nothing_though_refusals_find_them_awake() -> None:
    clock = Clock()
    on, off = Drowsy(clock, 100), Drowsy(clock, None)
    samples = asyncio.run(measure(on, off, rate=400, seconds=10, wake=clock.wake, clock=clock))
    by_answer = {one.answer: one for one in overheads(samples)}
    assert by_answer["allowed"].off_us - by_answer["refused"].off_us > 50
    for one in by_answer.values():
        assert abs(one.median.value_us) < 2 and abs(one.mean.value_us) < 2


@pytest.mark.parametrize("on_first", [True, False])
def test_the_second_of_a_pair_leaves_half_a_millisecond_after_the_first_has_answered(on_first: bool) -> None:
    clock = Clock()
    sent: dict[str, int] = {}

    def sender(name: str) -> Callable[[str], Awaitable[Observation]]:
        async def send(key: str) -> Observation:
            sent[name] = clock()
            await clock.wake(clock() + 300_000)
            return Observation(sent[name], clock(), True)

        return send

    pair = in_turn(sender("on"), sender("off"), "ann", on_first=on_first, wake=clock.wake, clock=clock)
    on, off = asyncio.run(pair)
    assert (on.sent_ns, off.sent_ns) == (sent["on"], sent["off"])
    assert off.sent_ns - on.sent_ns == (800_000 if on_first else -800_000)


def test_capacity_is_counted_and_loads_stay_below_half_of_it() -> None:
    async def send(_: str) -> Observation:
        return Observation(0, 1, True)

    assert asyncio.run(capacity(send, seconds=0.05, users=2)) > 100
    for figure in (10.0, 1_000.0, 1e6):
        assert all(load <= max(1.0, figure / 2) for load in loads(figure))
        assert len(set(loads(figure))) == 3 or figure == 10.0


def test_a_difference_reads_as_a_figure_with_its_interval() -> None:
    assert str(Difference(21.5, 19.46, 23.6)) == "+21.5 µs [+19.5, +23.6]"
