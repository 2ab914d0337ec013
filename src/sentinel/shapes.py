"""The load profiles that ship, one class each; every number in them is a default, not a constant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass
from itertools import pairwise
from typing import Literal, cast

from sentinel.errors import ConfigurationError, check_range
from sentinel.profile import Piece, Profile, Straight, check_duration, check_rate
from sentinel.run import Json, JsonObject, Phase

KNOTS_PER_PERIOD = 256


class _Shape(Profile):
    """Describe a dataclass profile by its own fields."""

    __slots__ = ()

    def describe(self) -> JsonObject:
        """Describe it for a snapshot: the shape's name and its parameters."""
        name = next(name for name, shape in SHAPES.items() if shape is type(self))
        fields = cast("dict[str, Json]", asdict(self))  # type: ignore[call-overload]  # all are dataclasses
        return {"shape": name, **{key: _listed(value) for key, value in fields.items()}}


def _listed(value: object) -> Json:
    if isinstance(value, tuple):
        return [_listed(part) for part in value]
    return cast(Json, value)


@dataclass(frozen=True, slots=True)
class Sustained(_Shape, Straight):
    """Hold one rate (per second) for `duration_s` seconds (1 to 3,600).

    >>> Sustained(rate=100, duration_s=60).total
    6000.0
    """

    rate: float
    duration_s: float = 60.0

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_duration(self.duration_s)

    def pieces(self) -> tuple[Piece, ...]:
        """Give the one piece."""
        return (Piece("steady", 0.0, self.duration_s, self.rate, self.rate),)


@dataclass(frozen=True, slots=True)
class Soak(Sustained):
    """Hold a modest rate for an hour: what leaks or drifts shows."""

    rate: float = 100.0
    duration_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Spike(_Shape, Straight):
    """Jump from `rate` to `multiplier` times it and back: warm-up 15 %, spike 30 %, cool-down 55 % of the
    time.

    multiplier: 1 to 100. Raises ConfigurationError out of bounds.

    >>> [Spike(rate=50, duration_s=100).rate_at(t) for t in (0, 14.9, 15, 44.9, 45, 100)]
    [50.0, 50.0, 500.0, 500.0, 50.0, 50.0]
    """

    rate: float
    duration_s: float = 60.0
    multiplier: float = 10.0
    warm_up: float = 0.15
    spike: float = 0.30

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_duration(self.duration_s)
        check_range("spike multiplier", self.multiplier, 1, 100)
        check_share("warm_up", self.warm_up)
        check_share("spike", self.spike)
        check_share("warm_up + spike", self.warm_up + self.spike)

    def pieces(self) -> tuple[Piece, ...]:
        """Give warm-up, spike and cool-down."""
        start, end = self.duration_s * self.warm_up, self.duration_s * (self.warm_up + self.spike)
        base, high = float(self.rate), float(self.rate * self.multiplier)
        return (
            Piece("warm-up", 0.0, start, base, base),
            Piece("spike", start, end, high, high),
            Piece("cool-down", end, self.duration_s, base, base),
        )


@dataclass(frozen=True, slots=True)
class Ramp(_Shape, Straight):
    """Rise from 0 to `rate` (40 % of the time), hold it (30 %), fall to 0 (30 %).

    >>> Ramp(rate=100, duration_s=10).total
    650.0
    """

    rate: float
    duration_s: float = 60.0
    up: float = 0.40
    hold: float = 0.30

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_duration(self.duration_s)
        check_share("up", self.up)
        check_share("hold", self.hold)
        check_share("up + hold", self.up + self.hold)

    def pieces(self) -> tuple[Piece, ...]:
        """Give ramp-up, sustain and ramp-down."""
        top, fall = self.duration_s * self.up, self.duration_s * (self.up + self.hold)
        return (
            Piece("ramp-up", 0.0, top, 0.0, self.rate),
            Piece("sustain", top, fall, self.rate, self.rate),
            Piece("ramp-down", fall, self.duration_s, self.rate, 0.0),
        )


@dataclass(frozen=True, slots=True)
class Stress(_Shape, Straight):
    """Rise from 0 to `rate` in one straight line, to find where the target bends."""

    rate: float = 1000.0
    duration_s: float = 1800.0

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_duration(self.duration_s)

    def pieces(self) -> tuple[Piece, ...]:
        """Give the one slope."""
        return (Piece("ramp-up", 0.0, self.duration_s, 0.0, self.rate),)


@dataclass(frozen=True, slots=True)
class ThreePhase(_Shape, Straight):
    """Rise to a peak, hold it, then settle: ramp-up, peak, steady state and, when asked for, ramp-down.

    rate: of the steady state; peak: of the peak, three times the steady state unless given; the rest:
    seconds.

    >>> [ThreePhase(rate=10).rate_at(t) for t in (0, 60, 120, 299, 300, 600)]
    [0.0, 15.0, 30.0, 30.0, 10.0, 10.0]
    """

    rate: float
    peak_rate: float | None = None
    ramp_up_s: float = 120.0
    peak_s: float = 180.0
    steady_s: float = 300.0
    ramp_down_s: float = 0.0

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        if self.peak_rate is not None:
            check_rate("peak_rate", self.peak_rate)
        for name in ("ramp_up_s", "peak_s", "steady_s", "ramp_down_s"):
            check_range(name, getattr(self, name), 0, 3600, "s")
        check_duration(self.duration_s)

    @property
    def duration_s(self) -> float:  # type: ignore[override]
        """Give the length of all four phases."""
        return self.ramp_up_s + self.peak_s + self.steady_s + self.ramp_down_s

    def pieces(self) -> tuple[Piece, ...]:
        """Give the four phases; those of no length are left out."""
        high = float(3 * self.rate if self.peak_rate is None else self.peak_rate)
        low, top = float(self.rate), self.ramp_up_s
        settle = top + self.peak_s
        fall = settle + self.steady_s
        return (
            Piece("ramp-up", 0.0, top, 0.0, high),
            Piece("peak", top, settle, high, high),
            Piece("steady", settle, fall, low, low),
            Piece("ramp-down", fall, self.duration_s, low, 0.0),
        )


@dataclass(frozen=True, slots=True)
class Custom(_Shape, Straight):
    """Draw a curve through points of (second, rate), straight between them.

    points: 2 to 1,000; seconds strictly increasing from 0; rates finite and at least 0.

    >>> Custom(((0, 0), (10, 100), (20, 100))).total
    1500.0
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        check_range("points", len(self.points), 2, 1000)
        for number, (second, rate) in enumerate(self.points):
            check_rate(f"points[{number}].rate", rate)
            check_range(f"points[{number}].second", second, 0, 3600, "s")
        if self.points[0][0] != 0:
            raise ConfigurationError(f"points[0].second is {self.points[0][0]}; a curve starts at second 0")
        for number, ((earlier, _), (later, _)) in enumerate(pairwise(self.points), 1):
            if later <= earlier:
                raise ConfigurationError(
                    f"points[{number}].second is {later}, after {earlier}; seconds must strictly increase"
                )
        check_duration(self.duration_s)

    @property
    def duration_s(self) -> float:  # type: ignore[override]
        """Give the last point's second."""
        return float(self.points[-1][0])

    def pieces(self) -> tuple[Piece, ...]:
        """Give one piece between each two points."""
        return tuple(
            Piece(f"{a[0]:g}-{b[0]:g} s", float(a[0]), float(b[0]), float(a[1]), float(b[1]))
            for a, b in pairwise(self.points)
        )


Wave = Literal["sine", "square", "sawtooth"]


@dataclass(frozen=True, slots=True)
class Oscillation(_Shape):
    """Swing between `low` and `high` times `rate` once every `period_s`, from the trough upwards.

    wave: "sine"; "square" (half a period low, half high); "sawtooth" (rises in a line, drops at once).
    The average over a period is rate x (low + high) / 2.

    >>> swing = Oscillation(rate=100, duration_s=120)
    >>> [round(swing.rate_at(t)) for t in (0, 15, 30, 60)]
    [20, 135, 250, 20]
    """

    rate: float
    duration_s: float = 300.0
    wave: Wave = "sine"
    period_s: float = 60.0
    low: float = 0.2
    high: float = 2.5

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_duration(self.duration_s)
        check_range("period", self.period_s, 0.1, 3600, "s")
        check_rate("low", self.low)
        check_rate("high", self.high)
        if self.wave not in ("sine", "square", "sawtooth"):
            raise ConfigurationError(f"wave is {self.wave!r}; it must be sine, square or sawtooth")
        if self.low > self.high:
            raise ConfigurationError(f"low is {self.low}, above high ({self.high}); swap them")

    def rate_at(self, elapsed_s: float) -> float:
        """Give the rate at an instant; at a jump, the rate after it."""
        if not 0 <= elapsed_s <= self.duration_s:
            return 0.0
        return self.rate * self._factor(elapsed_s % self.period_s / self.period_s)

    def _factor(self, turn: float) -> float:
        swing = self.high - self.low
        match self.wave:
            case "sine":
                return self.low + swing * (1 - math.cos(2 * math.pi * turn)) / 2
            case "square":
                return self.low if turn < 0.5 else self.high
            case _:
                return self.low + swing * turn

    def cumulative(self, elapsed_s: float) -> float:
        """Give the integral of the rate from 0 to an instant, in closed form."""
        turns, rest = divmod(min(max(elapsed_s, 0.0), self.duration_s), self.period_s)
        turn, swing = rest / self.period_s, self.high - self.low
        match self.wave:
            case "sine":
                part = swing * (turn - math.sin(2 * math.pi * turn) / (2 * math.pi)) / 2
            case "square":
                part = swing * max(turn - 0.5, 0.0)
            case _:
                part = swing * turn * turn / 2
        return self.rate * self.period_s * (turns * (self.low + self.high) / 2 + self.low * turn + part)

    def knots(self) -> tuple[float, ...]:
        """Give fine knots on a sine, the jumps of the other two."""
        per_period = {"sine": KNOTS_PER_PERIOD, "square": 2, "sawtooth": 1}[self.wave]
        step = self.period_s / per_period
        count = math.ceil(self.duration_s / step - 1e-9)
        return (*(number * step for number in range(count)), self.duration_s)

    def phases(self) -> tuple[Phase, ...]:
        """Name the periods."""
        count = math.ceil(self.duration_s / self.period_s - 1e-9)
        ends = [min((number + 1) * self.period_s, self.duration_s) for number in range(count)]
        return tuple(Phase(f"period {n + 1}", n * self.period_s, end) for n, end in enumerate(ends))


def check_share(name: str, value: float) -> None:
    """Refuse a share of the time outside 0 .. 1."""
    check_range(name, value, 0, 1)


SHAPES: dict[str, type[_Shape]] = {
    "spike": Spike,
    "sustained": Sustained,
    "oscillation": Oscillation,
    "ramp": Ramp,
    "custom": Custom,
    "three-phase": ThreePhase,
    "stress": Stress,
    "soak": Soak,
}


def shape(name: str, parameters: Mapping[str, object]) -> Profile:
    """Build a shipped profile by name; raise ConfigurationError for unknown names and parameters.

    >>> shape("spike", {"rate": 10, "duration_s": 20}).total
    740.0
    """
    if name not in SHAPES:
        raise ConfigurationError(f"profile is {name!r}; it must be one of {', '.join(SHAPES)}")
    wanted = SHAPES[name].__dataclass_fields__  # type: ignore[attr-defined]  # every shape is a dataclass
    for parameter in parameters:
        if parameter not in wanted:
            raise ConfigurationError(f"profile {name} has no {parameter!r}; it takes {', '.join(wanted)}")
    missing = [key for key, one in wanted.items() if one.default is MISSING and key not in parameters]
    if missing:
        raise ConfigurationError(f"profile {name} needs {' and '.join(missing)}; write it under [load]")
    values = dict(parameters)
    if isinstance(points := values.get("points"), Sequence):
        values["points"] = tuple(_point(number, point) for number, point in enumerate(points))
    try:
        return SHAPES[name](**values)
    except TypeError as error:
        raise ConfigurationError(f"profile {name}: {str(error).partition(') ')[2] or error}") from None


def _point(number: int, point: object) -> tuple[float, float]:
    if not isinstance(point, Sequence) or len(point) != 2:
        raise ConfigurationError(f"points[{number}] is {point!r}; write it as [second, rate]")
    return point[0], point[1]
