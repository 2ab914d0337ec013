"""SlidingWindow: never more than the limit in any window, as a sparse ring of sub-windows.

Everything here is a pure function of (state, now, cost). No clock, no key, no store.

The window W is cut into k sub-windows of ceil(W/k) microseconds. A sub-window counts whole until k more
have passed (W, or up to k - 1 microseconds more where k does not divide W), so every admission is
remembered for at least W: that is the promise. The price is waiting up to one sub-window longer than an
exact log would ask for.

State: one integer, of which nearly always only the lowest 96 bits are in use:

    96 bits    the youngest sub-window that admitted something: its entry
    32 bits    the sum of the counts above
    96 bits    the oldest one's entry, and so on up to the last but one

An entry is `number of the sub-window << 32 | count`, so entries compare by age. Python's garbage collector
never looks at integers, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from .errors import ConfigurationError
from .rate import MINUTE, Rate, RateLike, as_rate
from .token_bucket import NEVER

COUNT_BITS = 32
COUNT = (1 << COUNT_BITS) - 1
ENTRY_BITS = 96
ENTRY = (1 << ENTRY_BITS) - 1
_OLDER = ENTRY_BITS + COUNT_BITS  # where the entries of the older sub-windows begin
_HEAD = (1 << _OLDER + ENTRY_BITS) - 1  # what nearly always suffices: the youngest, a sum, the oldest
ZERO = 1 << 62 + COUNT_BITS
"""The entry of the sub-window at instant 0, with nothing counted. Those of earlier ones are positive, too."""
_SMALL = 1 << 30  # below it, CPython compares integers fastest

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

    def step(self, state: int | None, now: int, cost: int) -> tuple[int, int, int, int | None]:
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
            if (state & ENTRY) - empty > COUNT:
                live = state = _clamp(state, empty)
            if state > ENTRY or state < oldest:
                live = _live(state, oldest)
        if live is None:
            if cost > self.limit:
                return NEVER, self.limit, 0, state
            if cost == 0:
                return 0, self.limit, 0, state
            return 0, self.limit - cost, expiry - now, empty + cost
        youngest = live & ENTRY
        left = self.limit - (youngest & COUNT) - ((live & _HEAD) >> ENTRY_BITS & COUNT) - cost
        if left < 0 or cost == 0:
            reset = (expiry if youngest >= empty else self._end(youngest)) - now
            if left >= 0:
                return 0, left, reset, state
            retry = self._retry(live, now, -left) if cost <= self.limit else NEVER
            return retry, left + cost, reset, state
        if youngest < empty:
            return 0, left, expiry - now, _followed(live, empty + cost)
        return 0, left, expiry - now, live + cost

    def ordinary(self) -> tuple[str, str, str, dict[str, object]]:
        """`step` for a charge that fits, as source code (see `threshold.stores.unrolled`)."""
        k = f"{self.rate.period_us}_{self.precision}"  # windows that are alike share their sub-windows
        shared = f"""
            begin, end, empty{k}, oldest{k}, expiry{k} = places{k}[0]
            if not begin <= now < end:
                _, _, empty{k}, oldest{k}, expiry{k} = find_place{k}(now)
        """
        source = f"""
            total = state - empty{k}
            if total >= 0 and total < {_SMALL}:
                total += cost
                state += cost
            else:
                state, total = charged{k}(state, empty{k}, oldest{k}, cost)
            remaining = {self.limit} - total
            if remaining < 0:
                return None
        """
        names = {f"places{k}": self._places, f"find_place{k}": self._place, f"charged{k}": _charged}
        return shared, source, f"expiry{k}", names

    def refund(self, state: int | None, now: int, cost: int, at: int) -> int | None:
        """Give back a charge of `cost` made at the instant `at`, while its sub-window still counts.

        Only the sub-window that was charged is relieved, so no other admission is forgotten early.
        """
        if state is None:
            return None
        charged = ZERO + (at // self.width << COUNT_BITS)
        left = []
        for entry in entries_of(state):
            back = min(cost, entry - charged) if 0 <= entry - charged <= COUNT else 0
            if entry & COUNT > back:
                left.append(entry - back)
        return joined(left) if left else None

    def at_rest(self, state: int, now: int) -> bool:
        """Tell whether forgetting the state would change no later decision."""
        return self.rests_at(state) <= now

    def rests_at(self, state: int) -> int:
        """The first microsecond at which the state is at rest."""
        return self._end(state & ENTRY)

    def episode_us(self, retry_us: int) -> int:
        """Length of one episode of refusals: the window."""
        return self.rate.period_us

    def _end(self, entry: int) -> int:
        """The instant from which an entry no longer counts."""
        return ((entry - ZERO >> COUNT_BITS) + self.span) * self.width

    def _place(self, now: int) -> Place:
        """Work out the place of an instant, and remember it; one assignment, so that threads may race."""
        slot = now // self.width
        begin = slot * self.width
        empty = ZERO + (slot << COUNT_BITS)
        oldest = empty - (self.precision << COUNT_BITS)
        place = begin, begin + self.width, empty, oldest, (slot + self.span) * self.width
        self._places[0] = place
        return place

    def _retry(self, live: int, now: int, excess: int) -> int:
        """Microseconds until the earliest expiry that frees `excess`."""
        oldest = (live & _HEAD) >> _OLDER or live
        if oldest & COUNT >= excess:
            return self._end(oldest) - now
        for entry in entries_of(live):
            excess -= entry & COUNT
            if excess <= 0:
                return self._end(entry) - now
        raise AssertionError("a cost within the limit fits once every entry has expired")


def counted(state: int) -> int:
    """The sum of all counts of a state.

    >>> counted(joined([ZERO + 2, ZERO + (1 << 32) + 3]))
    5
    """
    return (state & COUNT) + ((state & _HEAD) >> ENTRY_BITS & COUNT)


def entries_of(state: int) -> Iterator[int]:
    """The entries of a state, oldest first.

    >>> [entry & COUNT for entry in entries_of(joined([ZERO + 2, ZERO + (1 << 32) + 3]))]
    [2, 3]
    """
    rest = state >> _OLDER
    while rest:
        yield rest & ENTRY
        rest >>= ENTRY_BITS
    yield state & ENTRY


def joined(entries: Iterable[int]) -> int:
    """The state of these entries, one or more, oldest first."""
    *older, youngest = entries
    rest = sum(entry << i * ENTRY_BITS for i, entry in enumerate(older))
    return rest << _OLDER | sum(entry & COUNT for entry in older) << ENTRY_BITS | youngest


def _live(state: int, oldest: int) -> int | None:
    """Drop what has expired; None when nothing counts any more."""
    head = state & _HEAD
    if head >> _OLDER >= oldest:
        return state
    youngest = head & ENTRY
    if youngest < oldest:
        return None
    rest = state >> _OLDER
    total = head >> ENTRY_BITS & COUNT
    while rest and rest & ENTRY < oldest:
        total -= rest & COUNT
        rest >>= ENTRY_BITS
    return rest << _OLDER | total << ENTRY_BITS | youngest


def _followed(state: int, entry: int) -> int:
    """The state once another sub-window has become the youngest: with this entry."""
    youngest = state & ENTRY
    top = _OLDER - (_OLDER - state.bit_length()) // ENTRY_BITS * ENTRY_BITS  # above all entries there are
    return state + (youngest << top) + ((youngest & COUNT) << ENTRY_BITS) - youngest + entry


def _charged(state: int, empty: int, oldest: int, cost: int) -> tuple[int, int]:
    """The state once `cost` is charged to the current sub-window, and the sum of all counts in it."""
    if (state & ENTRY) - empty > COUNT:
        state = _clamp(state, empty)
    live = _live(state, oldest)
    if live is None:
        return empty + cost, cost
    total = counted(live) + cost
    if live & ENTRY < empty:
        return _followed(live, empty + cost), total
    return live + cost, total


def _clamp(state: int, empty: int) -> int:
    """Pull entries from the future into the current sub-window: the clock stepped back.

    They then count for one window from now on: never a longer wait than that, and nothing is forgotten.
    """
    entries = list(entries_of(state))
    moved = sum(entry & COUNT for entry in entries if entry >= empty)
    return joined([*(entry for entry in entries if entry < empty), empty + moved])
