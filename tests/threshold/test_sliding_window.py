"""SlidingWindow against its definition, when clocks step back, and when charges are given back."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from limit_oracle import NEVER, WindowOracle
from windows import MS, SECOND, YEAR, limits, pauses, periods, precisions, window_of

from threshold import ConfigurationError, SlidingWindow
from threshold.testing import worst_window

costs = st.sampled_from([0, 1, 1, 1, 2, "half", "all but one", "all", "more", 10**18])


traces = st.lists(st.tuples(pauses, costs), max_size=50)


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
        most = max(most, state.bit_length())
    assert most <= 96 * (window.precision + 1) + 32


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
