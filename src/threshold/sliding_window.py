"""SlidingWindow: never more than the limit in any window, as a sparse ring of sub-windows.

Everything here is a pure function of (state, now, cost). No clock, no key, no store.

The window W is cut into k sub-windows of ceil(W/k) microseconds. A sub-window counts whole until k more
have passed (W, or up to k - 1 microseconds more where k does not divide W), so every admission is
remembered for at least W: that is the promise. The price is waiting up to one sub-window longer than an
exact log would ask for.

State: `(total, entry, entry, ...)`, oldest entry first, one per sub-window that admitted something. An
entry packs sub-window number and count into one integer, `number << 32 | count`, so that entries compare
by age and a state needs no containers inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .errors import ConfigurationError
from .rate import MINUTE, Rate, RateLike, as_rate
from .token_bucket import NEVER

COUNT_BITS = 32
COUNT = (1 << COUNT_BITS) - 1
_SMALL = 1 << 30  # below it, CPython compares integers fastest

Ring = tuple[int, ...]

Place = tuple[int, int, int, int, int]
"""What follows from the sub-window an instant lies in: its first microsecond, the first one after it, its
entry before anything is counted, the least entry that still counts, and the instant its own stops to."""


@dataclass(frozen=True, slots=True, init=False)
class SlidingWindow:
    """Admit at most `rate.limit` requests in any window of `rate.period`, whatever the arrival pattern.

    Args:
        rate: "5 per 5 minutes", `Rate(5, per=300)` or `(5, timedelta(minutes=5))`.
        precision: sub-windows per window, 2 to 360. Default 60 for windows of a minute or more, else 10.
            A refused caller may wait up to window / precision longer than an exact log would ask for.

    Raises:
        ConfigurationError: naming the field, the value and the remedy.

    >>> SlidingWindow("5 per 5 minutes").precision
    60
    """

    rate: Rate
    precision: int
    width: int = field(repr=False, compare=False)
    """Length of a sub-window in microseconds."""
    limit: int = field(repr=False, compare=False)
    """The most requests in any window."""
    span: int = field(repr=False, compare=False)
    """Sub-windows from the beginning of an entry to the instant from which it no longer counts."""
    _places: list[Place] = field(repr=False, compare=False)
    """The place of the last instant asked about: most instants share it with the one before."""

    algorithm: ClassVar[str] = "sliding-window"

    def __init__(self, rate: RateLike, precision: int | None = None) -> None:
        parsed = as_rate(rate)
        if precision is None:
            precision = 60 if parsed.period_us >= MINUTE else 10
        if type(precision) is not int or not 2 <= precision <= 360:
            raise ConfigurationError("precision", precision, "give a whole number of sub-windows, 2 to 360")
        object.__setattr__(self, "rate", parsed)
        object.__setattr__(self, "precision", precision)
        object.__setattr__(self, "width", -(-parsed.period_us // precision))
        object.__setattr__(self, "limit", parsed.limit)
        object.__setattr__(self, "span", precision + 1)
        object.__setattr__(self, "_places", [(0, 0, 0, 0, 0)])

    @property
    def capacity(self) -> int:
        """The largest cost that can ever be admitted."""
        return self.limit

    @property
    def window_us(self) -> int:
        """The window in microseconds."""
        return self.rate.period_us

    @property
    def fingerprint(self) -> str:
        """Tell this limit's state from any other's: states with equal fingerprints are interchangeable."""
        return f"w{self.rate.limit:x}.{self.rate.period_us:x}.{self.precision:x}"

    def step(self, state: Ring | None, now: int, cost: int) -> tuple[int, int, int, Ring | None]:
        """Say whether `cost` fits at `now`, and what would become of the state.

        Returns `(retry_us, remaining, reset_us, state)`, as `TokenBucket.step` does.

        >>> window = SlidingWindow("2 per 10 seconds")
        >>> _, remaining, _, state = window.step(None, now=0, cost=2)
        >>> window.step(state, now=0, cost=1)[0]
        11000000
        """
        begin, end, empty, oldest, expiry = self._places[0]
        if not begin <= now < end:
            _, _, empty, oldest, expiry = self._place(now)
        live = state
        if state is not None:
            if state[-1] - empty > COUNT:
                live = state = _clamp(state, empty >> COUNT_BITS)
            if state[1] < oldest:
                live = self._live(state, oldest)
        if live is None:
            if cost > self.limit:
                return NEVER, self.limit, 0, state
            if cost == 0:
                return 0, self.limit, 0, state
            return 0, self.limit - cost, expiry - now, (cost, empty + cost)
        youngest = live[-1]
        total = live[0] + cost
        left = self.limit - total
        if left < 0 or cost == 0:
            reset = (expiry if youngest >= empty else self._end(youngest)) - now
            if left >= 0:
                return 0, left, reset, state
            retry = self._retry(live, now, cost) if cost <= self.limit else NEVER
            return retry, left + cost, reset, state
        if youngest < empty:
            return 0, left, expiry - now, (total, *live[1:], empty + cost)
        if len(live) == 2:  # by far the most common, and three times as fast as taking the tuple apart
            return 0, left, expiry - now, (total, youngest + cost)
        return 0, left, expiry - now, (total, *live[1:-1], youngest + cost)

    def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
        """`step` for a charge that fits, as source code (see `threshold.stores.unrolled`)."""
        k = f"{self.rate.period_us}_{self.precision}"  # windows that are alike share their sub-windows
        shared = f"""
            begin, end, empty{k}, oldest{k}, expiry{k} = places{k}[0]
            if not begin <= now < end:
                _, _, empty{k}, oldest{k}, expiry{k} = find_place{k}(now)
        """
        source = f"""
            size = len(state)
            if size == 2:
                total, youngest = state
            else:
                youngest = state[size - 1]
            counted = youngest - empty{k}
            if size == 2 and counted >= 0 and counted < {_SMALL}:
                total += cost
                state = total, youngest + cost
            else:
                if counted > {COUNT}:
                    return None
                if state[1] < oldest{k}:
                    state = live{k}(state, oldest{k}) or (0,)
                total = state[0] + cost
                if counted < 0:
                    state = (total, *state[1:], empty{k} + cost)
                else:
                    state = (total, *state[1:-1], youngest + cost)
            remaining = {self.limit} - total
            if remaining < 0:
                return None
        """
        names = {f"places{k}": self._places, f"find_place{k}": self._place, f"live{k}": self._live}
        return shared, source, f"expiry{k}", names

    def refund(self, state: Ring | None, now: int, cost: int, at: int) -> Ring | None:
        """Give back a charge of `cost` made at the instant `at`, while its sub-window still counts.

        Only the sub-window that was charged is relieved, so no other admission is forgotten early.
        """
        if state is None:
            return None
        charged = at // self.width
        entries = list(state[1:])
        for i, entry in enumerate(entries):
            if entry >> COUNT_BITS == charged:
                back = min(cost, entry & COUNT)
                if back == entry & COUNT:
                    del entries[i]
                else:
                    entries[i] = entry - back
                return (state[0] - back, *entries) if entries else None
        return state

    def at_rest(self, state: Ring, now: int) -> bool:
        """Tell whether forgetting the state would change no later decision."""
        return self._end(state[-1]) <= now

    def rests_at(self, state: Ring) -> int:
        """The first microsecond at which the state is at rest."""
        return self._end(state[-1])

    def episode_us(self, retry_us: int) -> int:
        """Length of one episode of refusals: the window."""
        return self.rate.period_us

    def _end(self, entry: int) -> int:
        """The instant from which an entry no longer counts."""
        return ((entry >> COUNT_BITS) + self.span) * self.width

    def _place(self, now: int) -> Place:
        """Work out the place of an instant, and remember it; one assignment, so that threads may race."""
        slot = now // self.width
        begin = slot * self.width
        oldest = slot - self.precision << COUNT_BITS
        place = begin, begin + self.width, slot << COUNT_BITS, oldest, (slot + self.span) * self.width
        self._places[0] = place
        return place

    def _live(self, state: Ring, oldest: int) -> Ring | None:
        """Drop what has expired; None when nothing counts any more."""
        total = state[0]
        for i in range(1, len(state)):
            entry = state[i]
            if entry >= oldest:
                return (total, *state[i:])
            total -= entry & COUNT
        return None

    def _retry(self, live: Ring, now: int, cost: int) -> int:
        """Microseconds until the earliest expiry that frees enough."""
        excess = live[0] + cost - self.limit
        for entry in live[1:]:
            excess -= entry & COUNT
            if excess <= 0:
                return self._end(entry) - now
        raise AssertionError("a cost within the limit fits once every entry has expired")


def _clamp(state: Ring, slot: int) -> Ring:
    """Pull entries from the future into the current sub-window: the clock stepped back.

    They then count for one window from now on: never a longer wait than that, and nothing is forgotten.
    """
    kept = [entry for entry in state[1:] if entry >> COUNT_BITS < slot]
    moved = sum(entry & COUNT for entry in state[1:] if entry >> COUNT_BITS >= slot)
    return (state[0], *kept, slot << COUNT_BITS | moved)
