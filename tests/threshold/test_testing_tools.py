"""threshold.testing: the clock and the auditor. The auditor judges everything else, so it is judged first."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold.testing import ManualClock, worst_window

instants = st.integers(-50, 50) | st.fractions(-50, 50, max_denominator=4)
histories = st.lists(st.tuples(instants, st.integers(0, 5)), max_size=30)


@given(histories, st.integers(1, 40) | st.fractions(Fraction(1, 4), 40, max_denominator=4))
def test_the_auditor_agrees_with_looking_at_every_window(
    history: list[tuple[Fraction, int]], window: Fraction
) -> None:
    # The content of [t, t + window) changes only where t passes an admission, or t + window does.
    starts = {at for at, _ in history} | {at - window for at, _ in history}
    starts |= {start + Fraction(1, 1000) for start in starts}
    brute = max(
        (sum(cost for at, cost in history if start <= at < start + window) for start in starts), default=0
    )
    assert worst_window(history, window) == brute


@given(histories)
def test_the_auditor_does_not_mind_the_order_of_the_history(history: list[tuple[Fraction, int]]) -> None:
    assert worst_window(history, 7) == worst_window(history[::-1], 7)


def test_the_window_is_half_open() -> None:
    assert worst_window([0, 10], 10) == 1
    assert worst_window([0, 9], 10) == 2
    assert worst_window([0, Fraction(99, 10)], 10) == 2


def test_counts_bare_instants_as_one_and_pairs_by_their_cost() -> None:
    assert worst_window([1, 2, (3, 4)] and [(1, 1), (2, 1), (3, 4)], 10) == 6
    assert worst_window([1.0, 2.5, 3.0], 1.6) == 2
    assert worst_window(iter([5, 5, 5]), 1) == 3


def test_an_empty_history_has_an_empty_worst_window() -> None:
    assert worst_window([], 10) == 0


@pytest.mark.parametrize("window", [0, -1, float("nan")])
def test_refuses_a_window_without_length(window: float) -> None:
    with pytest.raises(ValueError, match="window"):
        worst_window([1], window)


def test_the_clock_starts_at_zero_and_stands_still() -> None:
    clock = ManualClock()
    assert [clock(), clock()] == [0, 0]


def test_the_clock_moves_by_seconds_rounded_to_the_nearest_microsecond() -> None:
    clock = ManualClock()
    clock.advance(0.1 + 0.2)
    assert clock() == 300_000
    clock.advance(Fraction(2, 3_000_000))
    assert clock() == 300_001
    clock.advance(0.0000004)
    assert clock() == 300_001
    clock.advance(-0.3)
    assert clock() == 1
    clock.advance_us(-1)
    assert clock() == 0


def test_a_year_of_tenths_of_a_second_does_not_drift() -> None:
    clock = ManualClock()
    for _ in range(10_000):
        clock.advance(0.1)
    assert clock() == 1_000_000_000


def test_needs_no_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None; from threshold.testing import ManualClock, StoreContract"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
