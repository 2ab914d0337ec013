"""SlidingWindow against its promise, whoever attacks it, and against an exact log."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from arrivals import Attacker, astride, dribble, drive, exact_log, greedy, noise, phased
from hypothesis import given, settings
from hypothesis import strategies as st
from windows import MS, SECOND, pauses, precisions, window_of

from threshold import SlidingWindow
from threshold.testing import worst_window

ATTACKED = [
    SlidingWindow("10/second"),
    SlidingWindow("100/second"),
    SlidingWindow("7 per 3 seconds", precision=7),
    SlidingWindow("5/minute"),
    SlidingWindow("1/second"),
    SlidingWindow("3/second", precision=2),
    SlidingWindow("13 per 17 ms", precision=360),
    SlidingWindow("9 per 11 ms", precision=13),
]


def attacks_on(window: SlidingWindow) -> list[object]:
    period, limit = window.rate.period_us, window.limit
    width = -(-period // window.precision)
    return [
        greedy(period, 4 * limit + 50),
        greedy(period, 4 * limit + 50, start=width - 1),
        astride(period, period, limit, 8),
        astride(width, period, limit, 4 * window.precision),
        phased(width, period, limit, 12),
        dribble(width, period, limit, 12),
        *(noise(seed, period, limit, 300) for seed in range(12)),
    ]


@pytest.mark.parametrize("window", ATTACKED, ids=str)
def test_no_window_holds_more_than_the_limit_whatever_the_attack(window: SlidingWindow) -> None:
    reached = 0
    for attack in attacks_on(window):
        admitted = drive(window.step, attack)  # type: ignore[arg-type]
        worst = worst_window(admitted, window.rate.period_us)
        assert worst <= window.limit
        reached += worst == window.limit
    assert reached > 10, "attacks that never fill a window show nothing"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(MS, 2 * SECOND),
    precisions,
    st.lists(st.tuples(pauses, st.integers(1, 12)), min_size=20, max_size=120),
)
def test_no_window_holds_more_than_the_limit_whatever_hypothesis_tries(
    limit: int, period: int, precision: int | None, trace: list[tuple[tuple[str, int, int], int]]
) -> None:
    window = window_of(limit, period, precision)
    width = -(-period // window.precision)

    def attack(retry: object) -> Attacker:
        now = 0
        for (unit, share, plus), cost in trace:
            pause = {"edge": -now % width, "sub-window": share * width // 8, "period": share * period // 10}
            now += max(0, plus + pause.get(unit, max(0, retry())))  # type: ignore[operator]
            yield now, min(cost, limit)

    assert worst_window(drive(window.step, attack), period) <= limit


def test_these_attacks_break_the_usual_approximations() -> None:
    """The yardstick: the same attacks against a fixed window and against two weighted counters."""
    period, limit = SECOND, 10

    def fixed(state: object, now: int, cost: int) -> tuple[int, int, int, object]:
        window, used = state or (now // period, 0)  # type: ignore[misc]
        if window != now // period:
            window, used = now // period, 0
        if used + cost <= limit:
            return 0, 0, 0, (window, used + cost)
        return (window + 1) * period - now, 0, 0, (window, used)

    def weighted(state: object, now: int, cost: int) -> tuple[int, int, int, object]:
        window, used, before = state or (now // period, 0, 0)  # type: ignore[misc]
        if window != now // period:
            window, used, before = now // period, 0, used if window == now // period - 1 else 0
        seen = used + before * Fraction(period - now % period, period)
        if seen + cost <= limit:
            return 0, 0, 0, (window, used + cost, before)
        return period // 20, 0, 0, (window, used, before)

    window = SlidingWindow("10/second")
    for naive in (fixed, weighted):
        worst = max(worst_window(drive(naive, attack), period) for attack in attacks_on(window))  # type: ignore[arg-type]
        assert worst > limit, naive.__name__


@pytest.mark.parametrize("text", ["100 per 50 seconds", "100/minute"])
def test_a_caller_who_never_stops_asking_gets_what_an_exact_log_gives_less_one_sub_window(text: str) -> None:
    """At most one sub-window is lost per window: k / (k + 1) of the ideal is the least."""
    window = SlidingWindow(text)
    period, k = window.rate.period_us, window.precision
    horizon = 33 * period

    def steady(pace: int, phase: int) -> Callable[[Callable[[], int]], Attacker]:
        def attack(retry: Callable[[], int]) -> Attacker:
            for now in range(phase, horizon, pace):
                yield now, 1

        return attack

    def insistent(phase: int) -> Callable[[Callable[[], int]], Attacker]:
        def attack(retry: Callable[[], int]) -> Attacker:
            now = phase
            while now < horizon:
                yield now, 1
                now += retry()

        return attack

    ring = log = 0
    for phase in (0, 1, period // 7, period // k - 1):
        for attack in (insistent(phase), *(steady(period // n, phase) for n in (151, 237, 700))):
            ideal, got = len(drive(exact_log(100, period), attack)), len(drive(window.step, attack))
            assert 0.95 * k / (k + 1) < got / ideal <= 1, (
                phase,
                got,
                ideal,
            )  # the last window may be cut off
            ring, log = ring + got, log + ideal
    assert k / (k + 1) <= ring / log <= 1, ring / log


def test_nobody_waits_more_than_one_sub_window_longer_than_an_exact_log_would_ask() -> None:
    window = SlidingWindow("10/second")
    state = window.step(None, 123_456, 10)[3]
    exact = 123_456 + SECOND
    for now in (123_456, 600_000, exact):
        retry = window.step(state, now, 1)[0]
        assert exact < now + retry <= exact + 100_000
