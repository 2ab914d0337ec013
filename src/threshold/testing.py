"""Tools for tests of code that uses threshold: a clock you move by hand, and an audit of what was admitted.

`StoreContract` (the conformance suite for stores) stands beside it in `threshold.testing_contract` and is
exported here.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from .rate import SECOND


class ManualClock:
    """A clock that stands still until it is told to move. Starts at 0.

    Give it to a store as `clock=`. Calling it returns integer microseconds.

    >>> clock = ManualClock()
    >>> clock.advance(1.5)
    >>> clock()
    1500000
    """

    def __init__(self, start_us: int = 0) -> None:
        self.now_us = start_us

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float | Fraction) -> None:
        """Move by this many seconds, rounded to the nearest microsecond; negative steps back."""
        self.now_us += round(Fraction(seconds) * SECOND)

    def advance_us(self, microseconds: int) -> None:
        """Move by exactly this many microseconds; negative steps back."""
        self.now_us += microseconds


def worst_window(
    events: Iterable[int | float | Fraction | tuple[int | float | Fraction, int]],
    window: int | float | Fraction,
) -> int:
    """The most admissions in any half-open window [t, t + window), over all windows.

    Args:
        events: instants of admissions, or (instant, cost) pairs, in any order.
        window: length of the window, in the unit of the instants; more than 0.

    Two pointers over the sorted history: the worst window starts at an admission.

    >>> worst_window([0, 1, 9, 10, 11], window=10)
    3
    >>> worst_window([(0, 5), (10, 5)], window=10)
    5
    """
    if not window > 0:
        raise ValueError(f"window: {window!r} cannot work; give a length above 0")
    history = sorted(event if isinstance(event, tuple) else (event, 1) for event in events)
    worst = inside = first = 0
    for instant, cost in history:
        inside += cost
        while instant - history[first][0] >= window:
            inside -= history[first][1]
            first += 1
        worst = max(worst, inside)
    return worst
