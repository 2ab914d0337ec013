"""How much load there is at an instant: a rate as a pure function of elapsed seconds, with its exact
integral.

A profile says how fast arrivals come, never when each one comes; that is the pacer's business. The integral
(`cumulative`) is what makes a schedule exact, so every shape here can give it: the shapes that ship are made
of straight lines, sines and sums of them, whose integrals are known; products are integrated by a rule that
has no error for polynomials and none worth a nanosecond for sines.

What a rate counts (sessions per second, users present) is up to whoever uses the profile.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from sentinel.errors import ConfigurationError, check_range
from sentinel.run import JsonObject, Phase

MIN_DURATION_S, MAX_DURATION_S = 1, 3600
MAX_OPERATIONS = 1_000_000
MAX_RATE = 1_000_000_000


class Profile(ABC):
    """Give a rate for every instant of a run, and how much had come by then.

    `duration_s` is its length; outside 0 .. duration_s the rate is 0. Profiles add (`a + b`), multiply (`a *
    b`, where b holds factors) and scale (`2 * a`, `a.scaled(load=0.1, time=0.1)`).
    """

    __slots__ = ()
    duration_s: float

    @abstractmethod
    def rate_at(self, elapsed_s: float) -> float:
        """Give the rate at an instant (per second); at a jump, the rate after it."""

    @abstractmethod
    def cumulative(self, elapsed_s: float) -> float:
        """Give the integral of the rate from 0 to an instant, exactly."""

    @abstractmethod
    def knots(self) -> tuple[float, ...]:
        """Give ascending instants, 0 to duration_s, between which the rate is all but straight."""

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """Name the stretches of the profile."""

    @abstractmethod
    def describe(self) -> JsonObject:
        """Describe it in JSON-able values, for the snapshot of a run."""

    @property
    def total(self) -> float:
        """Give the integral over the whole profile."""
        return self.cumulative(self.duration_s)

    @property
    def peak(self) -> float:
        """Give the highest rate, on both sides of every knot."""
        return max(
            max(self.rate_at(a), self.rate_at(math.nextafter(b, 0))) for a, b in pairwise(self.knots())
        )

    def scaled(self, load: float = 1.0, time: float = 1.0) -> Profile:
        """Multiply the rate by `load` (0 or more) and stretch the time by `time` (above 0).

        >>> from sentinel.shapes import Sustained
        >>> half = Sustained(rate=100, duration_s=60).scaled(load=0.5, time=0.1)
        >>> half.duration_s, half.rate_at(1), half.total
        (6.0, 50.0, 300.0)
        """
        return self if load == time == 1 else Scaled(self, load, time)

    def __add__(self, other: Profile) -> Profile:
        return Sum(self, other)

    def __mul__(self, other: Profile | float) -> Profile:
        return Product(self, other) if isinstance(other, Profile) else self.scaled(load=other)

    __rmul__ = __mul__


@dataclass(frozen=True, slots=True)
class Piece:
    """Draw one straight stretch: from rate `low` at `start_s` to rate `high` at `end_s`."""

    name: str
    start_s: float
    end_s: float
    low: float
    high: float

    def rate(self, at_s: float) -> float:
        """Give the rate at an instant inside."""
        share = (at_s - self.start_s) / (self.end_s - self.start_s)
        return self.low + (self.high - self.low) * share

    def area(self, until_s: float) -> float:
        """Give the integral from the start of the piece to an instant inside it."""
        return (until_s - self.start_s) * (self.low + self.rate(until_s)) / 2


class Straight(Profile):
    """Be the base of profiles made of straight pieces; a subclass says which."""

    __slots__ = ()

    @abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """Give the pieces, in order and without gaps, covering 0 .. duration_s."""

    def rate_at(self, elapsed_s: float) -> float:
        """Give the rate at an instant; at a jump, the rate after it."""
        if not 0 <= elapsed_s <= self.duration_s:
            return 0.0
        pieces, starts, _ = _table(self)
        return pieces[bisect_right(starts, elapsed_s) - 1].rate(elapsed_s)

    def cumulative(self, elapsed_s: float) -> float:
        """Give the integral of the rate from 0 to an instant, exactly."""
        if elapsed_s <= 0:
            return 0.0
        pieces, starts, before = _table(self)
        place = bisect_right(starts, min(elapsed_s, self.duration_s)) - 1
        return before[place] + pieces[place].area(min(elapsed_s, self.duration_s))

    def knots(self) -> tuple[float, ...]:
        """Give the ends of the pieces."""
        return (0.0, *(piece.end_s for piece in _table(self)[0]))

    def phases(self) -> tuple[Phase, ...]:
        """Name the pieces."""
        return tuple(Phase(piece.name, piece.start_s, piece.end_s) for piece in _table(self)[0])


@lru_cache(maxsize=256)
def _table(profile: Straight) -> tuple[tuple[Piece, ...], tuple[float, ...], tuple[float, ...]]:
    """Cut a profile into pieces once: the pieces, their starts, and the integral up to each of them."""
    pieces = tuple(piece for piece in profile.pieces() if piece.end_s > piece.start_s)
    before, areas = [0.0], (piece.area(piece.end_s) for piece in pieces)
    for area in areas:
        before.append(before[-1] + area)
    return pieces, tuple(piece.start_s for piece in pieces), tuple(before)


def check_duration(duration_s: float) -> None:
    """Refuse a duration outside 1 .. 3,600 s."""
    check_range("duration", duration_s, MIN_DURATION_S, MAX_DURATION_S, "s")


def check_rate(name: str, value: float) -> None:
    """Refuse a rate that is no number, negative, or beyond all reason: sums of it must stay finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_RATE:
        raise ConfigurationError(
            f"{name} is {value!r}; it must be a finite number of at least 0 and at most {MAX_RATE:,} per "
            "second, without quotes"
        )


def check_operations(profile: Profile) -> None:
    """Refuse a load of fewer than 1 or more than 1,000,000 arrivals in all.

    >>> from sentinel.shapes import Sustained
    >>> check_operations(Sustained(rate=1000, duration_s=3600))
    Traceback (most recent call last):
    sentinel.errors.ConfigurationError: operations is 3600000; it must be between 1 and 1,000,000
    """
    check_range("operations", round(profile.total), 1, MAX_OPERATIONS)


@dataclass(frozen=True, slots=True)
class Sum(Profile):
    """Add two profiles; the shorter one contributes nothing after its end."""

    first: Profile
    second: Profile
    duration_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", max(self.first.duration_s, self.second.duration_s))

    def rate_at(self, elapsed_s: float) -> float:
        """Give the sum of both rates."""
        return self.first.rate_at(elapsed_s) + self.second.rate_at(elapsed_s)

    def cumulative(self, elapsed_s: float) -> float:
        """Give the sum of both integrals."""
        return self.first.cumulative(elapsed_s) + self.second.cumulative(elapsed_s)

    def knots(self) -> tuple[float, ...]:
        """Give the knots of both."""
        return _union(self.first.knots(), self.second.knots(), self.duration_s)

    def phases(self) -> tuple[Phase, ...]:
        """Name the stretches of the one that has more of them, and what the other goes on for."""
        named = max(self.first.phases(), self.second.phases(), key=len)
        end_s = named[-1].end_s
        return named if end_s >= self.duration_s else (*named, Phase("rest", end_s, self.duration_s))

    def describe(self) -> JsonObject:
        """Describe it for a snapshot."""
        return {"shape": "sum", "of": [self.first.describe(), self.second.describe()]}


@dataclass(frozen=True, slots=True)
class Scaled(Profile):
    """Multiply another profile's rate by `load` (0 or more) and stretch its time by `time` (above 0)."""

    base: Profile
    load: float
    time: float = 1.0
    duration_s: float = field(init=False)

    def __post_init__(self) -> None:
        check_rate("load", self.load)
        if not math.isfinite(self.time) or self.time <= 0:
            raise ConfigurationError(
                f"time is {self.time}; a profile is stretched by a finite factor above 0"
            )
        object.__setattr__(self, "duration_s", self.base.duration_s * self.time)

    def rate_at(self, elapsed_s: float) -> float:
        """Give the scaled rate."""
        return self.load * self.base.rate_at(elapsed_s / self.time)

    def cumulative(self, elapsed_s: float) -> float:
        """Give the scaled integral."""
        return self.load * self.time * self.base.cumulative(elapsed_s / self.time)

    def knots(self) -> tuple[float, ...]:
        """Give the stretched knots."""
        return tuple(knot * self.time for knot in self.base.knots())

    def phases(self) -> tuple[Phase, ...]:
        """Name the stretched phases."""
        return tuple(
            Phase(phase.name, phase.start_s * self.time, phase.end_s * self.time)
            for phase in self.base.phases()
        )

    def describe(self) -> JsonObject:
        """Describe it for a snapshot."""
        return {"shape": "scaled", "of": self.base.describe(), "load": self.load, "time": self.time}


# Gauss-Legendre, five points: exact for polynomials up to degree nine.
_NODES = (-0.9061798459386640, -0.5384693101056831, 0.0, 0.5384693101056831, 0.9061798459386640)
_WEIGHTS = (
    0.2369268850561891,
    0.4786286704993665,
    0.5688888888888889,
    0.4786286704993665,
    0.2369268850561891,
)


@dataclass(frozen=True, slots=True)
class Product(Profile):
    """Multiply a profile by another one that holds factors; it ends with the shorter of the two."""

    first: Profile
    factor: Profile
    duration_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", min(self.first.duration_s, self.factor.duration_s))

    def rate_at(self, elapsed_s: float) -> float:
        """Give the product of both rates."""
        return self.first.rate_at(elapsed_s) * self.factor.rate_at(elapsed_s)

    def cumulative(self, elapsed_s: float) -> float:
        """Give the integral of the product."""
        until = min(max(elapsed_s, 0.0), self.duration_s)
        knots, before = _sums(self)
        place = min(bisect_right(knots, until) - 1, len(knots) - 2)
        return before[place] + _integral(self, knots[place], until)

    def knots(self) -> tuple[float, ...]:
        """Give the knots of both, and the middles between them, where a product of lines bends."""
        union = _union(self.first.knots(), self.factor.knots(), self.duration_s)
        return _union(union, tuple((a + b) / 2 for a, b in pairwise(union)), self.duration_s)

    def phases(self) -> tuple[Phase, ...]:
        """Name the first profile's stretches, cut at the end."""
        return tuple(
            Phase(phase.name, phase.start_s, min(phase.end_s, self.duration_s))
            for phase in self.first.phases()
            if phase.start_s < self.duration_s
        )

    def describe(self) -> JsonObject:
        """Describe it for a snapshot."""
        return {"shape": "product", "of": [self.first.describe(), self.factor.describe()]}


def _integral(profile: Profile, start_s: float, end_s: float) -> float:
    middle, half = (start_s + end_s) / 2, (end_s - start_s) / 2
    rates = (profile.rate_at(middle + half * node) for node in _NODES)
    return half * sum(weight * rate for weight, rate in zip(_WEIGHTS, rates, strict=True))


@lru_cache(maxsize=64)
def _sums(profile: Profile) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give the knots of a profile and its integral up to each of them."""
    knots, before = profile.knots(), [0.0]
    for start, end in pairwise(knots):
        before.append(before[-1] + _integral(profile, start, end))
    return knots, tuple(before)


def _union(first: Iterable[float], second: Iterable[float], end_s: float) -> tuple[float, ...]:
    """Merge ascending instants up to an end, dropping those closer together than a nanosecond."""
    kept = [0.0]
    for knot in sorted({*first, *second}):
        if kept[-1] + 1e-9 < knot < end_s - 1e-9:
            kept.append(knot)
    return (*kept, end_s)
