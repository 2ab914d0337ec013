from __future__ import annotations

import pytest

from sentinel.histogram import Histogram
from sentinel.void import Lag, judge, lag_limit_ns

GOOD_LAG = [Histogram([50_000] * 100)]


def reasons(
    lag: list[Histogram] = GOOD_LAG,
    planned: tuple[int, ...] = (100, 100),
    sent: tuple[int, ...] = (100, 100),
    cpu: tuple[float, ...] = (0.5, 0.5),
    limit_ns: int = 1_000_000,
) -> tuple[str, ...]:
    return judge(lag, planned, sent, cpu, limit_ns)


def test_a_punctual_run_stands() -> None:
    assert reasons() == ()


@pytest.mark.parametrize(
    ("tightest_ms", "limit_ms"), [(None, 1), (0.5, 1), (9.9, 1), (10, 1), (11, 1.1), (500, 50)]
)
def test_the_lag_allowed_is_a_millisecond_or_a_tenth_of_the_tightest_bound(
    tightest_ms: float | None, limit_ms: float
) -> None:
    assert lag_limit_ns(tightest_ms) == pytest.approx(limit_ms * 1e6)


@pytest.mark.parametrize(("late", "stands"), [(10, True), (11, False)])
def test_one_request_in_a_hundred_may_be_late(late: int, stands: bool) -> None:
    lag = [Histogram([50_000] * (1000 - late)), Histogram([2_000_000] * late)]
    assert (reasons(lag=lag) == ()) is stands
    assert reasons(lag=lag, limit_ns=3_000_000) == ()


@pytest.mark.parametrize(
    ("late", "count", "stands"), [(2, 40, True), (3, 40, False), (4, 172, True), (5, 172, False)]
)
def test_of_few_requests_as_many_may_be_late_as_chance_makes_of_one_in_a_hundred(
    late: int, count: int, stands: bool
) -> None:
    lag = [Histogram([50_000] * (count - late)), Histogram([2_000_000] * late)]
    found = reasons(lag=lag)
    assert (found == ()) is stands
    assert all(f"of {count} apart" in reason for reason in found)


def test_one_request_is_never_too_few_but_one_in_every_second_is() -> None:
    assert reasons(planned=(20,) * 50, sent=(20,) * 49 + (19,), cpu=()) == ()
    found = reasons(planned=(20,) * 50, sent=(19,) * 50, cpu=())
    assert found == ("only 950 of 1000 planned requests were sent in time (99 % needed)",)


def test_how_punctual_a_run_was_is_told_of_one_that_stands_too() -> None:
    told = Lag.of([Histogram([50_000] * 990), Histogram([400_000] * 20)], 1_000_000)
    assert told is not None and (told.count, told.apart, told.latest) == (1010, 10, 400_000)
    assert str(told) == "lag: median 0.05 ms, p99 0.4 ms; 1 ms allowed"
    assert Lag.of([], 1_000_000) is None


@pytest.mark.parametrize(("sent", "stands"), [(100, True), (99, True), (98, False), (0, False)])
def test_ninety_nine_in_a_hundred_must_be_sent_in_every_second(sent: int, stands: bool) -> None:
    found = reasons(planned=(100, 100, 0), sent=(100, sent, 0), cpu=(0.5,) * 3)
    assert (found == ()) is stands
    assert all("second 1" in reason for reason in found)


@pytest.mark.parametrize(("cpu", "stands"), [(0.9, True), (0.91, False)])
def test_a_core_may_be_used_up_to_nine_tenths_in_any_second(cpu: float, stands: bool) -> None:
    assert (reasons(cpu=(0.1, cpu)) == ()) is stands


def test_a_run_that_sent_nothing_proves_nothing() -> None:
    assert reasons(lag=[], planned=(0,), sent=(0,), cpu=(0.1,)) == ("not a single request was sent",)


def test_every_reason_is_given() -> None:
    found = reasons(lag=[Histogram([10**9] * 10)], sent=(100, 2), cpu=(1.0, 1.0))
    assert len(found) == 3
