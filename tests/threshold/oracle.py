"""What the two limits mean, in fractions, from their definitions alone.

Written to be judged by reading, not to be quick, and it imports nothing of the package it judges. Instants
are whole microseconds; everything else is exact. Each oracle keeps its own state between calls of `ask`.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

NEVER = -1


class Answer(NamedTuple):
    """What a limit must say: retry 0 is an admission, NEVER a refusal for good, else microseconds."""

    retry: int
    remaining: int
    reset: int


class BucketOracle:
    """A bucket of `capacity` tokens, refilled with `limit` tokens per `period` microseconds, evenly.

    The one thing remembered is the instant at which the bucket will be full again (`full_at`, a fraction of a
    microsecond). Where the clock has stepped back so far that this would mean a debt of more than a whole
    bucket, the debt is a whole bucket.
    """

    def __init__(self, limit: int, period: int, capacity: int) -> None:
        self.capacity = capacity
        self.per_token = Fraction(period, limit) if limit else None
        self.full_at: Fraction | None = None

    def _missing(self, now: int) -> Fraction:
        """Tokens missing from the bucket at `now`."""
        if self.full_at is None or self.full_at <= now or self.per_token is None:
            return Fraction(0)
        return min(Fraction(self.capacity), (self.full_at - now) / self.per_token)

    def ask(self, now: int, cost: int) -> Answer:
        if self.per_token is None:
            return Answer(NEVER if cost else 0, 0, 0)
        missing = self._missing(now)
        if cost > 0 and self.full_at is not None and self.full_at > now + self.capacity * self.per_token:
            self.full_at = now + self.capacity * self.per_token
        retry = 0
        if cost > self.capacity:
            retry = NEVER
        elif cost > 0 and missing + cost > self.capacity:
            retry = ceil((missing + cost - self.capacity) * self.per_token)
        elif cost > 0:
            missing += cost
            self.full_at = now + missing * self.per_token
        return Answer(retry, floor(self.capacity - missing), ceil(missing * self.per_token))


class WindowOracle:
    """At most `limit` admissions in any `period` microseconds, counted in equal sub-windows.

    A sub-window is ceil(period / precision) microseconds wide and starts at a multiple of that. What was
    admitted in it counts until the sub-window's end is a whole period old. Where the clock has stepped back,
    what was admitted in sub-windows that have not begun yet counts as if admitted in the current one.
    """

    def __init__(self, limit: int, period: int, precision: int) -> None:
        self.limit = limit
        self.period = period
        self.width = ceil(Fraction(period, precision))
        self.admitted: list[tuple[int, int]] = []  # (start of the sub-window, cost), one per admission

    def _counted(self, now: int) -> list[tuple[int, int]]:
        current = now - now % self.width
        moved = [(min(start, current), cost) for start, cost in self.admitted]
        return [(start, cost) for start, cost in moved if now < start + self.width + self.period]

    def ask(self, now: int, cost: int) -> Answer:
        if self.limit == 0:
            return Answer(NEVER if cost else 0, 0, 0)
        counted = self._counted(now)
        total = sum(cost for _, cost in counted)
        retry = 0
        if cost > self.limit:
            retry = NEVER
        elif cost > 0 and total + cost > self.limit:
            for gone in sorted({start + self.width + self.period for start, _ in counted}):
                left = sum(n for start, n in counted if start + self.width + self.period > gone)
                if left + cost <= self.limit:
                    retry = gone - now
                    break
        elif cost > 0:
            counted.append((now - now % self.width, cost))
            total += cost
        if cost > 0:
            self.admitted = counted
        ends = [start + self.width + self.period for start, _ in counted]
        return Answer(retry, self.limit - total, max(ends) - now if ends else 0)
