"""When to send: a profile, a spacing and a seed turned into every intended instant, before the first send.

Arrival k is due where the integral of the rate reaches its position; with even spacing the position is k
itself. The schedule is therefore exact, the same on every run and every host, and the yardstick for what was
really sent.

Pure functions of their arguments: no clock, no loop, no target.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from sentinel.errors import ConfigurationError, check_range, check_whole
from sentinel.profile import MAX_OPERATIONS, Profile
from sentinel.run import Json, JsonObject

NS = 1_000_000_000
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_SLACK = 1e-6  # of an arrival: what rounding may add to or take from an integral


class Spacing(ABC):
    """Say where arrivals stand between two instants of the same rate."""

    __slots__ = ()

    @abstractmethod
    def seconds(self, profile: Profile, rng: np.random.Generator) -> Floats:
        """Give the ascending instants of all arrivals, in seconds from the start."""

    def describe(self) -> JsonObject:
        """Describe it for the snapshot of a run."""
        fields = cast("dict[str, Json]", asdict(self))  # type: ignore[call-overload]  # all are dataclasses
        return {"kind": next(name for name, kind in SPACINGS.items() if kind is type(self)), **fields}


@dataclass(frozen=True, slots=True)
class Even(Spacing):
    """Space arrivals evenly: at 100/s one every 10 ms, the first at 0."""

    def seconds(self, profile: Profile, rng: np.random.Generator) -> Floats:
        """Give the instants at which the integral passes 0, 1, 2, ..."""
        return invert(profile, np.arange(max(0, math.ceil(profile.total - _SLACK)), dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Poisson(Spacing):
    """Draw arrivals independently of each other, as many strangers would; their number varies by its root."""

    def seconds(self, profile: Profile, rng: np.random.Generator) -> Floats:
        """Give the instants at which the integral passes the sums of exponential gaps."""
        total = profile.total
        positions = np.empty(0)
        while not positions.size or positions[-1] < total:
            batch = int(total + 6 * math.sqrt(total) + 16)
            gaps = -np.log1p(-rng.random(batch))
            positions = np.concatenate(
                (positions, (positions[-1] if positions.size else 0.0) + np.cumsum(gaps))
            )
        return invert(profile, positions[positions < total])


@dataclass(frozen=True, slots=True)
class Clumped(Spacing):
    """Send `size` arrivals (2 to 100,000) at one instant, then nothing until the next clump is due."""

    size: int = 10

    def __post_init__(self) -> None:
        check_whole("clump size", self.size, 2, 100_000)

    def seconds(self, profile: Profile, rng: np.random.Generator) -> Floats:
        """Give the even instants with every clump moved to the instant of its first member."""
        even = np.arange(max(0, math.ceil(profile.total - _SLACK)))
        return invert(profile, (even // self.size * self.size).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Boundary(Spacing):
    """Gather each window's arrivals astride the boundary of two windows: half just before it, half just
    after.

    window_s: length of the windows (0.001 to 86,400 s); width_s: of the burst (above 0, at most the window).
    offset_s: where the first boundary lies (0 to window_s).
    What a fixed window lets through twice over, a sliding one does not.
    """

    window_s: float = 1.0
    width_s: float = 0.02
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        check_range("window_s", self.window_s, 0.001, 86_400, "s")
        check_range("width_s", self.width_s, 1e-6, self.window_s, "s")
        check_range("offset_s", self.offset_s, 0, self.window_s, "s")

    def seconds(self, profile: Profile, rng: np.random.Generator) -> Floats:
        """Give the even instants drawn towards the nearest boundary, none before 0 or after the end."""
        even = Even().seconds(profile, rng)
        window = np.floor((even - self.offset_s) / self.window_s + 0.5 + _SLACK)
        boundary = window * self.window_s + self.offset_s
        drawn = boundary + (even - boundary) * (self.width_s / self.window_s)
        return np.clip(drawn, 0.0, math.nextafter(profile.duration_s, 0))


SPACINGS: dict[str, type[Spacing]] = {
    "even": Even,
    "poisson": Poisson,
    "clumped": Clumped,
    "boundary": Boundary,
}


def spacing(kind: str, **parameters: float) -> Spacing:
    """Build a spacing by name; raise ConfigurationError for unknown names and parameters.

    >>> spacing("clumped", size=5)
    Clumped(size=5)
    """
    if kind not in SPACINGS:
        raise ConfigurationError(f"spacing is {kind!r}; it must be one of {', '.join(SPACINGS)}")
    wanted = SPACINGS[kind].__dataclass_fields__  # type: ignore[attr-defined]  # all are dataclasses
    for name in parameters:
        if name not in wanted:
            takes = ", ".join(wanted) or "no parameters"
            raise ConfigurationError(f"spacing {kind} has no {name!r}; it takes {takes}")
    return SPACINGS[kind](**parameters)


@dataclass(frozen=True, slots=True)
class Segment:
    """Take every arrival k with k ≡ index (mod count): one process's share of a schedule.

    >>> Segment.parse("2/4")
    Segment(index=2, count=4)
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_whole("segment count", self.count, 1, 1000)
        check_whole("segment index", self.index, 0, self.count - 1)

    @classmethod
    def parse(cls, text: str) -> Segment:
        """Read "i/n", where i counts from 0."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ConfigurationError(f"segment is {text!r}; write it as i/n with i from 0 to n - 1, like 0/4")
        return cls(int(index), int(count))


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Hold the intended instants of one segment.

    instants: nanoseconds from the start of the run, ascending. numbers: each arrival's place in the whole
    schedule. total: arrivals of all segments together. duration_ns: length of the profile.
    """

    instants: Ints
    numbers: Ints
    total: int
    duration_ns: int

    def __len__(self) -> int:
        return len(self.instants)

    def per_second(self) -> list[int]:
        """Count the arrivals of every second of the profile, the last one even when it is cut short."""
        seconds = -(-self.duration_ns // NS)
        return cast("list[int]", np.bincount(self.instants // NS, minlength=seconds).tolist())


def schedule(profile: Profile, spacing: Spacing, seed: int, segment: Segment = Segment()) -> Schedule:
    """Lay out every arrival of a profile; the same arguments always give the same schedule.

    Raises ConfigurationError when there would be none, or more than 1,000,000 in all.

    >>> from sentinel.shapes import Sustained
    >>> schedule(Sustained(rate=4, duration_s=1), Even(), seed=1).instants.tolist()
    [0, 250000000, 500000000, 750000000]
    >>> schedule(Sustained(rate=4, duration_s=1), Even(), 1, Segment(1, 2)).instants.tolist()
    [250000000, 750000000]
    """
    check_range("operations", profile.total, 1 - _SLACK, MAX_OPERATIONS + 0.5)
    instants = np.rint(spacing.seconds(profile, np.random.Generator(np.random.PCG64(seed))) * NS).astype(
        np.int64
    )
    instants = np.maximum.accumulate(instants) if instants.size else instants
    numbers = np.arange(len(instants))[segment.index :: segment.count]
    return Schedule(instants[numbers], numbers, len(instants), round(profile.duration_s * NS))


def invert(profile: Profile, positions: Floats) -> Floats:
    """Find the instants (seconds) at which a profile's integral reaches ascending positions below its total.

    Between two knots the integral is taken as the cubic through four of its exact values: no error at all for
    straight and parabolic rates, less than a millionth of an arrival on the knots of a sine.
    """
    knots = np.array(profile.knots())
    at = knots[:-1, None] + np.diff(knots)[:, None] * np.array([0, 1 / 3, 2 / 3, 1])
    values = np.array([[profile.cumulative(instant) for instant in row] for row in at.tolist()])
    values[1:, 0] = values[:-1, 3]
    place = np.clip(np.searchsorted(values[:, 0], positions, side="right") - 1, 0, len(knots) - 2)
    f1, f2, f3 = (values[:, 1:] - values[:, :1]).T
    c1, c2, c3 = 9 * f1 - 4.5 * f2 + f3, -22.5 * f1 + 18 * f2 - 4.5 * f3, 13.5 * f1 - 13.5 * f2 + 4.5 * f3
    share = _solve(c1[place], c2[place], c3[place], positions - values[place, 0])
    return cast(Floats, knots[place] + np.diff(knots)[place] * share)


def _solve(c1: Floats, c2: Floats, c3: Floats, target: Floats) -> Floats:
    """Solve c1 u + c2 u² + c3 u³ = target for u in 0 .. 1, by Newton steps that never leave the bracket."""
    low, high = np.zeros_like(target), np.ones_like(target)
    u = np.clip(target / np.maximum(c1 + c2 + c3, 1e-300), 0.0, 1.0)
    for _ in range(100):
        excess = ((c3 * u + c2) * u + c1) * u - target
        high, low = np.where(excess > 0, u, high), np.where(excess <= 0, u, low)
        slope = (3 * c3 * u + 2 * c2) * u + c1
        with np.errstate(divide="ignore", invalid="ignore"):
            step = u - excess / slope
        better = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        moved = float(np.max(np.abs(better - u), initial=0.0))
        u = better
        if moved < 1e-14:
            break
    return u
