"""ManualClock: a clock that tests move by hand."""

from __future__ import annotations

from fractions import Fraction

from ..rate import SECOND


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
