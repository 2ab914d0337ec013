"""SlidingWindow against its definition, against its promise, and against an exact log."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from arrivals import Attacker, astride, dribble, drive, exact_log, greedy, noise, phased
from hypothesis import example, given, settings
from hypothesis import strategies as st
from limit_oracle import NEVER, WindowOracle

from threshold import ConfigurationError, Rate, SlidingWindow
from threshold.testing import worst_window

MS, SECOND, DAY = 1_000, 1_000_000, 86_400_000_000
YEAR = 365 * DAY

limits = st.integers(1, 10**6) | st.integers(1, 12)
periods = st.integers(MS, YEAR) | st.sampled_from([MS, SECOND, 60 * SECOND, 3600 * SECOND, DAY, YEAR])
precisions = st.none() | st.integers(2, 12) | st.integers(2, 360)
# How the next instant follows from the last: (unit of the pause, how many of it, plus microseconds).
pauses = st.tuples(
    st.sampled_from(["none", "none", "retry", "reset", "period", "sub-window", "edge", "back", "leap back"]),
    st.integers(0, 40),
    st.integers(-1, 1),
)
costs = st.sampled_from([0, 1, 1, 1, 2, "half", "all but one", "all", "more", 10**18])
traces = st.lists(st.tuples(pauses, costs), max_size=50)


def window_of(limit: int, period: int, precision: int | None) -> SlidingWindow:
    return SlidingWindow(Rate(limit, per=Fraction(period, SECOND)), precision=precision)


def cost_of(name: int | str, limit: int) -> int:
    named = {"half": -(-limit // 2), "all but one": limit - 1, "all": limit, "more": limit + 1}
    return named[name] if isinstance(name, str) else name


@settings(max_examples=500, deadline=None)
@given(limits, periods, precisions, st.integers(-(10**6), 2 * 10**15), traces)
@example(2, SECOND, 10, 0, [(("none", 0, 0), 1)] * 3 + [(("retry", 0, 0), 1), (("edge", 1, -1), 1)] * 3)
@example(5, 7 * MS, 9, 0, [(("sub-window", 8, 0), 1)] * 9 + [(("back", 40, 0), 2), (("edge", 1, 0), 1)] * 3)
def test_every_field_agrees_with_the_definition(
    limit: int,
    period: int,
    precision: int | None,
    start: int,
    trace: list[tuple[tuple[str, int, int], int | str]],
) -> None:
    window = window_of(limit, period, precision)
    width = -(-period // window.precision)
    oracle = WindowOracle(limit, period, window.precision)
    state, now, retry, reset = None, start, 0, 0
    for (unit, share, plus), name in trace:
        now += (
            plus
            + {
                "none": 0,
                "retry": max(retry, 0),
                "reset": reset,
                "period": share * period // 10,
                "sub-window": share * width // 8,
                "edge": -now % width + share * width,
                "back": -(share * width // 8),
                "leap back": -(share * (3600 * SECOND + period)),
            }[unit]
        )
        cost = cost_of(name, limit)
        retry, remaining, reset, state = window.step(state, now, cost)
        assert (retry, remaining, reset) == oracle.ask(now, cost), (now, cost)


@settings(deadline=None)
@given(limits, periods, precisions, st.integers(0, 10**15), st.data())
def test_refuses_until_retry_after_and_admits_exactly_then(
    limit: int, period: int, precision: int | None, start: int, data: st.DataObject
) -> None:
    window = window_of(limit, period, precision)
    state, now = None, start
    for _ in range(data.draw(st.integers(1, 6))):
        now += data.draw(st.integers(0, period))
        state = window.step(state, now, data.draw(st.integers(1, limit)))[3]
    now += data.draw(st.integers(0, period))
    cost = data.draw(st.integers(1, limit))
    retry = window.step(state, now, cost)[0]
    if retry == 0:
        return
    assert window.step(state, now + retry - 1, cost)[0] == 1
    assert window.step(state, now + retry, cost)[0] == 0


def test_a_refusal_changes_nothing() -> None:
    window = SlidingWindow("3 per 10 seconds")
    state = window.step(None, 0, 3)[3]
    for now in (0, 1, 9_999_999, 10_999_999):
        assert window.step(state, now, 1)[3] is state


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


@settings(deadline=None)
@given(limits, periods, precisions, st.integers(1, 5 * 3600 * SECOND), st.data())
def test_after_a_step_back_nobody_waits_longer_than_the_period_and_a_sub_window(
    limit: int, period: int, precision: int | None, back: int, data: st.DataObject
) -> None:
    window = window_of(limit, period, precision)
    state, now = None, 10**13
    for _ in range(3):
        now += data.draw(st.integers(0, period))
        state = window.step(state, now, -(-limit // 3))[3]
    longest = (window.precision + 1) * -(-period // window.precision)
    retry, _, reset, state = window.step(state, now - back, limit)
    assert 0 <= retry <= longest and 0 < reset <= longest
    if retry:
        # The clamp was written down: from there on, the wait is over when it was said.
        assert window.step(state, now - back + retry - 1, limit)[0] == 1
        assert window.step(state, now - back + retry, limit)[0] == 0


@settings(deadline=None)
@given(
    st.integers(1, 9),
    st.integers(MS, SECOND),
    precisions,
    st.lists(st.integers(-SECOND, SECOND // 2), max_size=40),
)
def test_steps_back_admit_no_more_than_the_time_that_really_passed_explains(
    limit: int, period: int, precision: int | None, moves: list[int]
) -> None:
    """Laid out along the time that really passed, the promise holds: no step back is worth an admission."""
    window = window_of(limit, period, precision)
    state, now, passed, admitted = None, 10**12, 0, []
    for move in moves:
        now += move
        passed += max(0, move)
        while (answer := window.step(state, now, 1))[0] == 0:
            state = answer[3]
            admitted.append(passed)
        state = answer[3]
    assert worst_window(admitted, period) <= limit


def test_a_step_back_forgets_nothing_and_pulls_the_future_into_the_present() -> None:
    window = SlidingWindow("4 per 10 seconds")
    state = None
    for now in (3_000_000, 5_000_000, 7_000_000):
        state = window.step(state, now, 1)[3]
    retry, remaining, _, state = window.step(state, 5_500_000, 2)
    assert (remaining, retry) == (1, 14_000_000 - 5_500_000)
    # What was admitted at 7 s counts from now on as admitted in the sub-window of 5 s.
    assert window.step(state, 15_999_999, 4)[0] == 1
    assert window.step(state, 16_000_000, 4)[0] == 0


def test_the_state_stays_small() -> None:
    window = SlidingWindow("1000000/second")
    state, most = None, 0
    for i in range(5000):
        state = window.step(state, i * 7_919, 1)[3]
        assert state is not None
        most = max(most, len(state))
    assert most <= 1 + window.precision + 1


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(MS, SECOND), precisions, st.data())
def test_a_refund_gives_back_at_most_its_charge_and_only_from_its_own_sub_window(
    limit: int, period: int, precision: int | None, data: st.DataObject
) -> None:
    window = window_of(limit, period, precision)
    state, now, admitted = None, 0, []
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.integers(0, period // 2))
        cost = data.draw(st.integers(1, limit))
        retry, _, _, state = window.step(state, now, cost)
        if retry == 0:
            admitted.append((now, cost))
    at, cost = admitted.pop(data.draw(st.integers(0, len(admitted) - 1)))
    now += data.draw(st.integers(0, period))
    refunded = window.refund(state, now, cost, at)
    before, after = window.step(state, now, 0)[1], window.step(refunded, now, 0)[1]
    assert before <= after <= before + cost
    while (answer := window.step(refunded, now, 1))[0] == 0:
        refunded = answer[3]
        admitted.append((now, 1))
    assert worst_window(admitted, period) <= limit


def test_a_refund_at_once_restores_the_window_exactly() -> None:
    window = SlidingWindow("7 per 3 seconds")
    before = window.step(None, 100, 2)[3]
    after = window.step(before, 200, 3)[3]
    assert window.refund(after, 200, 3, 200) == before
    assert window.refund(before, 200, 2, 100) is None
    assert window.refund(None, 200, 3, 200) is None


@settings(deadline=None)
@given(limits, periods, precisions, st.data())
def test_a_window_rests_exactly_when_nothing_counts_any_more(
    limit: int, period: int, precision: int | None, data: st.DataObject
) -> None:
    window = window_of(limit, period, precision)
    state, now, reset = None, 77, 0
    for _ in range(3):
        now += data.draw(st.integers(0, period))
        _, _, reset, state = window.step(state, now, data.draw(st.integers(0, limit)))
    if state is None:
        return
    assert window.rests_at(state) == now + reset if reset else window.rests_at(state) <= now
    assert window.at_rest(state, now + reset) and window.step(state, now + reset, 0)[1] == limit
    if reset:
        assert not window.at_rest(state, now + reset - 1)
        assert window.step(state, now + reset - 1, 0)[1] < limit


def test_a_limit_of_zero_admits_nothing_but_cost_zero() -> None:
    window = SlidingWindow("0/minute")
    for now in (0, 10**15):
        assert window.step(None, now, 1) == (NEVER, 0, 0, None)
        assert window.step(None, now, 0) == (0, 0, 0, None)


def test_one_a_year_is_one_a_year() -> None:
    window = SlidingWindow("1/year", precision=2)
    state = window.step(None, 0, 1)[3]
    assert window.step(state, YEAR + YEAR // 2 - 1, 1)[0] == 1
    assert window.step(state, YEAR + YEAR // 2, 1)[0] == 0


def test_a_billion_in_one_sub_window_fits_the_state() -> None:
    window = SlidingWindow("1000000000/second")
    state = window.step(None, 0, 10**9)[3]
    assert window.step(state, 0, 1)[:2] == (1_100_000, 0)
    assert window.step(state, 1_100_000, 10**9)[:2] == (0, 0)


def test_is_finer_for_windows_of_a_minute_or_more() -> None:
    assert SlidingWindow("5 per 59 seconds").precision == 10
    assert SlidingWindow("5/minute").precision == 60
    assert SlidingWindow("5/minute", precision=2).precision == 2


@pytest.mark.parametrize("precision", [0, 1, 361, -5, 10.0, True, "10"])
def test_refuses_a_precision_out_of_range(precision: int) -> None:
    with pytest.raises(ConfigurationError, match="precision"):
        SlidingWindow("5/second", precision=precision)


def test_an_episode_is_the_window() -> None:
    assert SlidingWindow("5 per 5 minutes").episode_us(17) == 300 * SECOND


def test_fingerprints_differ_where_states_cannot_be_exchanged() -> None:
    windows = [
        SlidingWindow("60/minute"),
        SlidingWindow("60/second"),
        SlidingWindow("61/minute"),
        SlidingWindow("60/minute", precision=61),
    ]
    assert len({window.fingerprint for window in windows}) == len(windows)
