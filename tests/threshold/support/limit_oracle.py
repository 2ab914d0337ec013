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
    bucket, the debt is a whole bucket from then on.
    """

    def __init__(self, limit: int, period: int, capacity: int) -> None:
        self.capacity = capacity
        self.per_token = Fraction(period, limit) if limit else None
        self.full_at: Fraction | None = None

    def ask(self, now: int, cost: int) -> Answer:
        if self.per_token is None:
            return Answer(NEVER if cost else 0, 0, 0)
        missing = Fraction(0)
        if self.full_at is not None:
            self.full_at = min(self.full_at, now + self.capacity * self.per_token)
            missing = max(missing, (self.full_at - now) / self.per_token)
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
    admitted in it counts until `precision` more sub-windows have passed, which is a period or (where the
    period is no multiple of the precision) a few microseconds more. Where the clock has stepped back, what
    was admitted in sub-windows that have not begun yet counts from then on as admitted in the current one.
    What has stopped counting is forgotten with the next admission, not before.
    """

    def __init__(self, limit: int, period: int, precision: int) -> None:
        self.limit = limit
        self.width = ceil(Fraction(period, precision))
        self.counts_for = self.width + precision * self.width  # from the start of its sub-window
        self.admitted: list[tuple[int, int]] = []  # (start of the sub-window, cost), one per admission

    def ask(self, now: int, cost: int) -> Answer:
        if self.limit == 0:
            return Answer(NEVER if cost else 0, 0, 0)
        current = now - now % self.width
        self.admitted = [(min(start, current), cost) for start, cost in self.admitted]
        counted = [(start, cost) for start, cost in self.admitted if now < start + self.counts_for]
        total = sum(cost for _, cost in counted)
        retry = 0
        if cost > self.limit:
            retry = NEVER
        elif cost > 0 and total + cost > self.limit:
            for gone in sorted({start + self.counts_for for start, _ in counted}):
                left = sum(n for start, n in counted if start + self.counts_for > gone)
                if left + cost <= self.limit:
                    retry = gone - now
                    break
        elif cost > 0:
            counted.append((current, cost))
            self.admitted = counted
            total += cost
        ends = [start + self.counts_for for start, _ in counted]
        return Answer(retry, self.limit - total, max(ends) - now if ends else 0)
