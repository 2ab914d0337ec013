"""What a limiter promises, stated without reference to any implementation, and how far its clock is
trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sentinel.errors import ConfigurationError

Algorithm = Literal["token-bucket", "sliding-window"]

MAX_LIMIT = 1_000_000_000
MAX_PERIOD_US = 366 * 86_400 * 1_000_000


def _bounded(owner: str, field: str, value: int, low: int, high: int, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(
            f"{owner}: {field} must be a whole number of {unit} from {low} to {high}, got {value!r}"
        )


@dataclass(frozen=True, slots=True)
class Window:
    """Promise at most `limit` admissions in any interval of length `period_us`.

    `precision` is the number of sub-windows a conservative ring cuts the window into: it may hold an
    admission against the caller for one sub-window longer. None means an exact log, which may not. Raises
    ConfigurationError for a limit outside 1 to 10**9, a period outside 1 microsecond to 366 days, a
    precision outside 1 to 10**6.

    >>> Window(5, 300_000_000, precision=60).held_us
    305000000
    """

    limit: int
    period_us: int
    precision: int | None = None

    def __post_init__(self) -> None:
        _bounded("Window", "limit", self.limit, 1, MAX_LIMIT, "requests")
        _bounded("Window", "period_us", self.period_us, 1, MAX_PERIOD_US, "microseconds")
        if self.precision is not None:
            _bounded("Window", "precision", self.precision, 1, 1_000_000, "sub-windows")

    @property
    def held_us(self) -> int:
        """Return the longest time, in microseconds, an admission may count against its caller."""
        if self.precision is None:
            return self.period_us
        return self.period_us + -(-self.period_us // self.precision)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Promise at most `burst` + `limit`·t/`period_us` admissions in any interval of length t.

    >>> Bucket(500, 1_000_000, burst=50).wait_us
    2000
    """

    limit: int
    period_us: int
    burst: int

    def __post_init__(self) -> None:
        _bounded("Bucket", "limit", self.limit, 1, MAX_LIMIT, "requests")
        _bounded("Bucket", "period_us", self.period_us, 1, MAX_PERIOD_US, "microseconds")
        _bounded("Bucket", "burst", self.burst, 1, MAX_LIMIT, "requests")

    @property
    def wait_us(self) -> int:
        """Return the longest honest wait, in microseconds, for one token."""
        return -(-self.period_us // self.limit)


Promise = Window | Bucket


def promise_of(
    algorithm: Algorithm,
    limit: int,
    period_us: int,
    *,
    burst: int | None = None,
    precision: int | None = None,
) -> Promise:
    """Build the promise of a limit given by name.

    A token bucket without a burst holds `limit` tokens. Raises ConfigurationError for an unknown algorithm,
    or for a burst or a precision that the algorithm does not have.

    >>> promise_of("token-bucket", 500, 1_000_000, burst=50)
    Bucket(limit=500, period_us=1000000, burst=50)
    """
    if algorithm == "token-bucket":
        if precision is not None:
            raise ConfigurationError(
                f"precision is {precision}; a token-bucket has no sub-windows, leave it out"
            )
        return Bucket(limit, period_us, limit if burst is None else burst)
    if algorithm == "sliding-window":
        if burst is not None:
            raise ConfigurationError(
                f"burst is {burst}; a sliding-window has no burst of its own, leave it out"
            )
        return Window(limit, period_us, precision)
    raise ConfigurationError(f"algorithm: must be 'token-bucket' or 'sliding-window', got {algorithm!r}")


def settled_ns(promise: Promise) -> int:
    """Return the longest honest wait of an idle key for one admission, in nanoseconds."""
    return 1_000 * (promise.held_us if isinstance(promise, Window) else promise.wait_us)


@dataclass(frozen=True, slots=True)
class ClockTrust:
    """State what may separate the limiter's clock from the observer's.

    `grain_ns` is the limiter's tick: a clock read in whole microseconds can see two instants up to one
    microsecond further apart, or closer together, than they were. `drift_ppm` is the difference in speed,
    in parts per million: 0 on one host, where both clocks are slewed alike; 500 covers what NTP may do
    between two hosts.

    >>> ClockTrust(grain_ns=1_000_000).drift_ppm
    0
    """

    grain_ns: int = 1_000
    drift_ppm: int = 0

    def __post_init__(self) -> None:
        _bounded("ClockTrust", "grain_ns", self.grain_ns, 0, 10_000_000_000, "nanoseconds")
        _bounded("ClockTrust", "drift_ppm", self.drift_ppm, 0, 100_000, "parts per million")
