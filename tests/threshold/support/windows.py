"""Sliding windows of every size, and the pauses that are hard on them, for Hypothesis to choose from."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import strategies as st

from threshold import Rate, SlidingWindow

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


def window_of(limit: int, period: int, precision: int | None) -> SlidingWindow:
    return SlidingWindow(Rate(limit, per=Fraction(period, SECOND)), precision=precision)
