"""TokenBucket: a steady rate with bursts, as an exact integer meter.

Everything here is a pure function of (state, now, cost). No clock, no key, no store.

The meter fills by P units per token and drains L units per microsecond; a bucket that holds C tokens
overflows at C x P. Instead of (level, time of the level) one integer is kept: the instant, in units of
1/L microseconds, at which the meter will have drained. `state - now * L` is the level, and a state that
is not in the future is a state at rest. This is the generic cell rate algorithm (ITU-T I.371), exact
because L and P are whole numbers without a common divisor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import ClassVar, Final

from .errors import ConfigurationError
from .rate import MAX_LIMIT, Rate, RateLike, as_rate

NEVER: Final = -1
"""In place of a retry-after: this cost can never be admitted."""


@dataclass(frozen=True, slots=True, init=False)
class TokenBucket:
    """Admit a steady rate, and bursts of up to `burst` requests after a pause.

    Promise: at most `burst + rate * W` requests in any interval of length W. With the default burst that
    is up to twice the rate in one period; use `SlidingWindow` where the number itself is the ceiling.

    Args:
        rate: "100/minute", `Rate(100, per=60)` or `(100, timedelta(minutes=1))`.
        burst: requests admitted at once after a pause, 1 to 1,000,000,000. Default: the rate's limit.

    Raises:
        ConfigurationError: naming the field, the value and the remedy.

    >>> bucket = TokenBucket("60/minute", burst=10)
    >>> bucket.capacity, bucket.rate.limit
    (10, 60)
    """

    rate: Rate
    capacity: int
    unit: int = field(repr=False, compare=False)
    """Weight of one token in the meter (P, divided by what it shares with L)."""
    drain: int = field(repr=False, compare=False)
    """Units drained per microsecond (L, likewise)."""
    full: int = field(repr=False, compare=False)
    """The level of a bucket without a single token left."""

    algorithm: ClassVar[str] = "token-bucket"

    def __init__(self, rate: RateLike, burst: int | None = None) -> None:
        parsed = as_rate(rate)
        if burst is not None and (type(burst) is not int or not 1 <= burst <= MAX_LIMIT):
            raise ConfigurationError("burst", burst, f"give a whole number of requests, 1 to {MAX_LIMIT:,}")
        if burst is not None and parsed.limit == 0:
            raise ConfigurationError("burst", burst, "a limit of 0 admits nothing: leave burst out")
        capacity = parsed.limit if burst is None else burst
        shared = gcd(parsed.limit, parsed.period_us)
        unit = parsed.period_us // shared
        for name, value in (
            ("rate", parsed),
            ("capacity", capacity),
            ("unit", unit),
            ("drain", parsed.limit // shared or 1),
            ("full", capacity * unit),
        ):
            object.__setattr__(self, name, value)

    @property
    def limit(self) -> int:
        """The most requests that can be admitted at once."""
        return self.capacity

    @property
    def window_us(self) -> int:
        """The rate's period in microseconds."""
        return self.rate.period_us

    @property
    def fingerprint(self) -> str:
        """Tell this limit's state from any other's: states with equal fingerprints are interchangeable."""
        return f"t{self.rate.limit:x}.{self.rate.period_us:x}.{self.capacity:x}"

    def step(self, state: int | None, now: int, cost: int) -> tuple[int, int, int, int | None]:
        """Say whether `cost` fits at `now`, and what would become of the state.

        Returns `(retry_us, remaining, reset_us, state)`. Admitted: retry_us is 0 and the state is the
        charged one. Refused: retry_us is the number of microseconds after which the same cost is admitted
        if nothing else comes, or NEVER; the state is the old one (clamped, if the clock stepped back).

        >>> bucket = TokenBucket("2/second")
        >>> _, remaining, _, state = bucket.step(None, now=0, cost=2)
        >>> bucket.step(state, now=0, cost=1)[0]
        500000
        """
        drain = self.drain
        start = now * drain
        level = 0 if state is None or state <= start else state - start
        full = self.full
        if level > full:  # the clock stepped back: the most a bucket can owe is all it holds
            level = full
            state = start + full
        unit = self.unit
        need = level + cost * unit
        left = full - need
        if left >= 0:
            return 0, left // unit, (need + drain - 1) // drain, start + need if cost else state
        retry = -(left // drain) if cost <= self.capacity else NEVER
        return retry, (full - level) // unit, -(-level // drain), state

    def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
        """`step` for a charge that fits, as source code (see `threshold.stores.unrolled`)."""
        drain = self.drain
        source = f"""
            start = {"now" if drain == 1 else f"now * {drain}"}
            if state < start:
                state = start
            state += cost * {self.unit}
            left = start + {self.full} - state
            if left < 0:
                return None
            remaining = left // {self.unit}
        """
        return "", source, "state" if drain == 1 else f"-(-state // {drain})", {}

    def refund(self, state: int | None, now: int, cost: int, at: int) -> int | None:
        """Give back a charge of `cost` made at the instant `at`, as far as that is surely safe.

        What drained since then may have been this charge's own, so only the rest is given back: the
        promise holds whatever else was admitted in between.
        """
        if state is None:
            return None
        back = cost * self.unit - max(0, now - at) * self.drain
        return state if back <= 0 else max(state - back, now * self.drain)

    def at_rest(self, state: int, now: int) -> bool:
        """Tell whether forgetting the state would change no later decision."""
        return state <= now * self.drain

    def rests_at(self, state: int) -> int:
        """The first microsecond at which the state is at rest."""
        return -(-state // self.drain)

    def episode_us(self, retry_us: int) -> int:
        """Length of one episode of refusals: until the next token, at least one second."""
        return max(retry_us, 1_000_000)
