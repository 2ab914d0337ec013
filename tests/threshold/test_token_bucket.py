"""TokenBucket against its definition in fractions, and against its promise."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest
from arrivals import astride, dribble, drive, greedy, noise
from hypothesis import example, given, settings
from hypothesis import strategies as st
from limit_oracle import NEVER, BucketOracle

from threshold import ConfigurationError, Rate, TokenBucket
from threshold.testing import worst_window

MS, SECOND, DAY = 1_000, 1_000_000, 86_400_000_000
YEAR = 365 * DAY

limits = st.integers(1, 10**6) | st.integers(1, 12) | st.sampled_from([7, 997, 10**6])
periods = st.integers(MS, YEAR) | st.sampled_from([MS, SECOND, 60 * SECOND, 3600 * SECOND, DAY, YEAR])
bursts = st.none() | st.integers(1, 20) | st.integers(1, 10**6)
# How the next instant follows from the last: (unit of the pause, how many of it, plus microseconds).
pauses = st.tuples(
    st.sampled_from(["none", "none", "retry", "reset", "period", "token", "back", "leap back"]),
    st.integers(0, 40),
    st.integers(-1, 1),
)
costs = st.sampled_from([0, 1, 1, 1, 2, "half", "all but one", "all", "all", "more", 10**18])
traces = st.lists(st.tuples(pauses, costs), max_size=40)


def bucket_of(limit: int, period: int, burst: int | None) -> TokenBucket:
    return TokenBucket(Rate(limit, per=Fraction(period, SECOND)), burst=burst)


def cost_of(name: int | str, capacity: int) -> int:
    named = {"half": -(-capacity // 2), "all but one": capacity - 1, "all": capacity, "more": capacity + 1}
    return named[name] if isinstance(name, str) else name


@settings(max_examples=400, deadline=None)
@given(limits, periods, bursts, st.integers(-(10**6), 2 * 10**15), traces)
@example(3, SECOND, None, 0, [(("none", 0, 0), 1)] * 4 + [(("retry", 1, 0), 1)] * 3)
def test_every_field_agrees_with_the_definition(
    limit: int,
    period: int,
    burst: int | None,
    start: int,
    trace: list[tuple[tuple[str, int, int], int | str]],
) -> None:
    bucket = bucket_of(limit, period, burst)
    oracle = BucketOracle(limit, period, bucket.capacity)
    state, now, retry, reset = None, start, 0, 0
    for (unit, share, plus), name in trace:
        now += (
            plus
            + {
                "none": 0,
                "retry": max(retry, 0),
                "reset": reset,
                "period": share * period // 10,
                "token": share * period // (8 * limit),
                "back": -(share * period // 100),
                "leap back": -(share * (3600 * SECOND + period)),
            }[unit]
        )
        cost = cost_of(name, bucket.capacity)
        retry, remaining, reset, state = bucket.step(state, now, cost)
        assert (retry, remaining, reset) == oracle.ask(now, cost), (now, cost)


@settings(deadline=None)
@given(limits, periods, bursts, st.integers(0, 10**15), st.data())
def test_refuses_until_retry_after_and_admits_exactly_then(
    limit: int, period: int, burst: int | None, start: int, data: st.DataObject
) -> None:
    bucket = bucket_of(limit, period, burst)
    capacity = bucket.capacity
    used = data.draw(st.integers(1, capacity))
    now = start + data.draw(st.integers(0, period))
    _, _, _, state = bucket.step(bucket.step(None, start, used)[3], now, 0)
    cost = data.draw(st.integers(1, capacity))
    retry = bucket.step(state, now, cost)[0]
    if retry == 0:
        return
    assert bucket.step(state, now + retry - 1, cost)[0] == 1
    assert bucket.step(state, now + retry, cost)[0] == 0


def test_a_refusal_changes_nothing() -> None:
    bucket = TokenBucket("3 per 10 seconds")
    state = bucket.step(None, 0, 3)[3]
    for now in (0, 1, 3_333_333):
        assert bucket.step(state, now, 1)[3] is state


@pytest.mark.parametrize("limit", [*range(1, 60), 97, 333, 473, 999, 1000])
def test_a_whole_burst_is_admitted_at_once_and_then_one_per_share_of_the_period(limit: int) -> None:
    bucket = TokenBucket(Rate(limit, per=1))
    state, admitted = None, 0
    for _ in range(limit + 5):
        retry, _, _, state = bucket.step(state, 12_345, 1)
        admitted += retry == 0
    assert admitted == limit
    for i in range(1, 2 * limit):
        due = 12_345 + -(-i * SECOND // limit)
        assert bucket.step(state, due - 1, 1)[0] == 1
        retry, _, _, state = bucket.step(state, due, 1)
        assert retry == 0


def test_a_million_a_second_is_a_limit_and_not_a_blank_cheque() -> None:
    for text, per_us in (("1000000/second", 1), ("3000000/second", 3), ("1000000000/second", 1000)):
        bucket = TokenBucket(text, burst=5 * per_us)
        state = bucket.step(None, 0, 5 * per_us)[3]
        assert bucket.step(state, 0, 1)[0] == 1
        admitted = 0
        for now in range(1, 50):
            while (answer := bucket.step(state, now, 1))[0] == 0:
                state, admitted = answer[3], admitted + 1
        assert admitted == 49 * per_us


def test_one_a_year_is_one_a_year() -> None:
    bucket = TokenBucket("1/year")
    state = bucket.step(None, 0, 1)[3]
    assert bucket.step(state, 1, 1)[:3] == (YEAR - 1, 0, YEAR - 1)
    assert bucket.step(state, YEAR - 1, 1)[0] == 1
    assert bucket.step(state, YEAR, 1)[:3] == (0, 0, YEAR)


ATTACKED = [
    TokenBucket("10/second"),
    TokenBucket("7 per 3 seconds", burst=4),
    TokenBucket("3/second", burst=11),
    TokenBucket(Rate(17, per=Fraction(1_001, 1000))),
    TokenBucket("1/second"),
]


@pytest.mark.parametrize("bucket", ATTACKED, ids=str)
def test_no_window_of_any_length_holds_more_than_burst_plus_rate_times_length(bucket: TokenBucket) -> None:
    period, capacity, rate = bucket.rate.period_us, bucket.capacity, bucket.rate.limit
    attackers = [
        greedy(period, 400),
        astride(period, period, capacity, 12),
        astride(period // rate, period, capacity, 40),
        dribble(period // rate, period, capacity, 12),
        *(noise(seed, period, capacity, 400) for seed in range(6)),
    ]
    tight = 0
    for attacker in attackers:
        admitted = drive(bucket.step, attacker)
        for window in (
            1,
            period // rate,
            period // 3,
            period - 1,
            period,
            period + 1,
            3 * period,
            10 * period,
        ):
            worst = worst_window(admitted, window)
            # In a half-open window whose length is a whole number of microseconds the last instant at which
            # one can ask is one microsecond before its end.
            bound = capacity + Fraction(rate * (window - 1), period)
            assert worst <= bound, (worst, bound)
            tight += worst == bound.__floor__()
    assert tight, "an attack that never comes near the bound shows nothing"


def test_the_auditor_would_notice_a_bucket_that_is_one_too_generous() -> None:
    bucket, honest = TokenBucket("10/second", burst=11), 10
    admitted = drive(bucket.step, greedy(SECOND, 100))
    assert worst_window(admitted, SECOND) > honest + Fraction(10 * (SECOND - 1), SECOND)


def test_a_patient_caller_gets_the_whole_rate() -> None:
    for bucket in ATTACKED:
        admitted = drive(bucket.step, greedy(bucket.rate.period_us, 1000))
        length = admitted[-1][0]
        due = bucket.capacity + length * bucket.rate.limit // bucket.rate.period_us
        assert len(admitted) == due, str(bucket)


@settings(deadline=None)
@given(limits, periods, bursts, st.integers(1, 5 * 3600 * SECOND), st.integers(0, 10**6))
def test_after_a_step_back_nobody_waits_longer_than_a_full_bucket_takes_to_drain(
    limit: int, period: int, burst: int | None, back: int, used: int
) -> None:
    bucket = bucket_of(limit, period, burst)
    capacity = bucket.capacity
    now = 10**13
    state = bucket.step(None, now, min(max(used, 1), capacity))[3]
    drained = -(-capacity * period // limit)
    retry, _, reset, state = bucket.step(state, now - back, capacity)
    assert 0 < retry <= drained and 0 < reset <= drained
    # The clamp was written down: the clock going on normally from there, the wait is over when it was said.
    assert bucket.step(state, now - back + retry, capacity)[0] == 0


@settings(deadline=None)
@given(
    st.integers(1, 20), st.integers(MS, 10 * SECOND), st.lists(st.integers(-3 * SECOND, SECOND), max_size=60)
)
def test_steps_back_admit_no_more_than_the_time_that_really_passed_explains(
    limit: int, period: int, moves: list[int]
) -> None:
    """However the clock jumps: admissions <= burst + rate x all the time it moved forward."""
    bucket = bucket_of(limit, period, None)
    state, now, admitted, forward = None, 10**12, 0, 0
    for move in moves:
        now += move
        forward += max(0, move)
        while (answer := bucket.step(state, now, 1))[0] == 0:
            state, admitted = answer[3], admitted + 1
        state = answer[3]
    assert admitted <= bucket.capacity + Fraction(limit * forward, period)


@settings(deadline=None)
@given(limits, periods, bursts, st.data())
def test_a_refund_is_never_worth_more_than_the_charge_and_never_negative(
    limit: int, period: int, burst: int | None, data: st.DataObject
) -> None:
    bucket = bucket_of(limit, period, burst)
    capacity = bucket.capacity
    cost = data.draw(st.integers(1, capacity))
    more = data.draw(st.integers(0, capacity))
    first = data.draw(st.integers(0, 2 * period))
    later = first + data.draw(st.integers(0, 2 * period))
    retry, _, _, state = bucket.step(bucket.step(None, 0, cost)[3], first, more)
    # Had the refunded request never been made, the bucket could not be emptier than it now claims to be.
    without = bucket.step(None, first, more)[3] if retry == 0 else None
    after = bucket.refund(state, later, cost, 0)
    left = bucket.step(after, later, 0)[1]
    assert bucket.step(state, later, 0)[1] <= left <= bucket.step(without, later, 0)[1]


def test_a_refund_at_once_restores_the_bucket_exactly() -> None:
    bucket = TokenBucket("7 per 3 seconds")
    before = bucket.step(None, 100, 2)[3]
    after = bucket.step(before, 200, 3)[3]
    assert bucket.refund(after, 200, 3, 200) == before
    assert bucket.refund(None, 200, 3, 200) is None


@settings(deadline=None)
@given(limits, periods, bursts, st.data())
def test_a_bucket_rests_exactly_when_it_is_full_again(
    limit: int, period: int, burst: int | None, data: st.DataObject
) -> None:
    bucket = bucket_of(limit, period, burst)
    used = data.draw(st.integers(1, bucket.capacity))
    _, _, reset, state = bucket.step(None, 77, used)
    assert state is not None
    assert bucket.rests_at(state) == 77 + reset
    assert not bucket.at_rest(state, 77 + reset - 1) and bucket.at_rest(state, 77 + reset)


def test_an_episode_lasts_until_the_next_token_but_at_least_a_second() -> None:
    bucket = TokenBucket("100/minute")
    assert bucket.episode_us(600_000) == SECOND
    assert bucket.episode_us(1_000_001) == 1_000_001


def test_a_limit_of_zero_admits_nothing_but_cost_zero() -> None:
    bucket = TokenBucket("0/minute")
    assert bucket.limit == bucket.capacity == 0
    for now in (0, 10**15):
        assert bucket.step(None, now, 1) == (NEVER, 0, 0, None)
        assert bucket.step(None, now, 0) == (0, 0, 0, None)


@pytest.mark.parametrize("burst", [0, -1, 1.5, True, "10", 10**9 + 1])
def test_refuses_a_burst_that_is_no_whole_number_in_range(burst: int) -> None:
    with pytest.raises(ConfigurationError, match="burst"):
        TokenBucket("5/second", burst=burst)


def test_refuses_a_burst_for_a_limit_of_zero() -> None:
    with pytest.raises(ConfigurationError, match="burst"):
        TokenBucket("0/second", burst=5)


def test_takes_a_rate_in_any_form() -> None:
    forms = [
        TokenBucket("100/minute"),
        TokenBucket(Rate(100, per=60)),
        TokenBucket((100, timedelta(minutes=1))),
    ]
    assert len(set(forms)) == 1 and forms[0].capacity == 100 and forms[0].window_us == 60 * SECOND


def test_fingerprints_differ_where_states_cannot_be_exchanged() -> None:
    buckets = [
        TokenBucket("60/minute"),
        TokenBucket("1/second"),
        TokenBucket("60/minute", burst=5),
        TokenBucket("61/minute"),
    ]
    assert len({bucket.fingerprint for bucket in buckets}) == len(buckets)
    assert TokenBucket("60/minute", burst=60).fingerprint == TokenBucket("60/minute").fingerprint
