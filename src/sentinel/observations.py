"""What the oracle is shown: when each request was sent, when it was answered, and how it ended.

Columns rather than rows, because proofs run over hundreds of thousands of requests. Nothing here knows a
limiter, a target or a promise: an observation is what a bystander with a stopwatch could have written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sentinel.errors import ConfigurationError

IntArray = npt.NDArray[np.int64]

ADMITTED = 1
REFUSED = 0
UNKNOWN = -1  # timed out or broken: it may have been admitted or not, at any instant after it was sent

NO_RETRY_AFTER = -1


class Observation(NamedTuple):
    """Record one request as its sender saw it.

    Instants are nanoseconds of one monotonic clock. `admitted` is None when the request got no usable answer;
    `retry_after_s` is what the refusal announced, in seconds; `status` is the protocol's own code (0: no
    answer). Where more is known of the decision, `sent_ns` and `done_ns` are the closest instants around it,
    and `left_ns` is when the request left its sender.

    >>> Observation(sent_ns=0, done_ns=1_500_000, admitted=False, retry_after_s=2.0, status=429).retry_after_s
    2.0
    """

    sent_ns: int
    done_ns: int
    admitted: bool | None
    retry_after_s: float | None = None
    status: int = 0
    left_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """Hold many observations as columns, in any order.

    `outcome` is ADMITTED, REFUSED or UNKNOWN per row; `key` indexes `names`; `retry_after_ns` is
    NO_RETRY_AFTER where nothing was announced. Raises ConfigurationError when the columns differ in length or
    a request ends before it was sent.

    >>> seen = Observations.of(["ann", "bob", "ann"], [Observation(0, 5, True), Observation(1, 4, True),
    ...                                                Observation(6, 9, False, 1.0, 429)])
    >>> len(seen), seen.names, seen.count(ADMITTED), seen.count(REFUSED)
    (3, ('ann', 'bob'), 2, 1)
    """

    sent_ns: IntArray
    done_ns: IntArray
    outcome: npt.NDArray[np.int8]
    key: IntArray
    retry_after_ns: IntArray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = (self.sent_ns, self.done_ns, self.outcome, self.key, self.retry_after_ns)
        if any(len(column) != len(self.sent_ns) for column in columns):
            lengths = sorted({len(column) for column in columns})
            raise ConfigurationError(f"observations: all columns must have one length, got {lengths}")
        backwards = self.done_ns < self.sent_ns
        if backwards.any():
            row = int(np.argmax(backwards))
            raise ConfigurationError(
                f"observations: row {row} was answered at {int(self.done_ns[row])} ns, before it was sent at "
                f"{int(self.sent_ns[row])} ns; use one monotonic clock for both"
            )

    def __len__(self) -> int:
        return len(self.sent_ns)

    @classmethod
    def of(cls, keys: Sequence[str], rows: Sequence[Observation]) -> Observations:
        """Build the columns from one key and one observation per request."""
        if len(keys) != len(rows):
            raise ConfigurationError(
                f"observations: {len(keys)} keys for {len(rows)} rows; give one key per row"
            )
        codes: dict[str, int] = {}
        key = np.fromiter((codes.setdefault(name, len(codes)) for name in keys), np.int64, len(keys))
        outcome = np.fromiter(
            (UNKNOWN if r.admitted is None else int(r.admitted) for r in rows), np.int8, len(rows)
        )
        retry = np.fromiter(
            (NO_RETRY_AFTER if r.retry_after_s is None else round(r.retry_after_s * 1e9) for r in rows),
            np.int64,
            len(rows),
        )
        return cls(
            np.fromiter((r.sent_ns for r in rows), np.int64, len(rows)),
            np.fromiter((r.done_ns for r in rows), np.int64, len(rows)),
            outcome,
            key,
            retry,
            tuple(codes),
        )

    def count(self, outcome: int) -> int:
        """Count the rows that ended in one outcome."""
        return int(np.count_nonzero(self.outcome == outcome))

    def where(self, mask: npt.NDArray[np.bool_] | IntArray | slice) -> Observations:
        """Return the rows a mask, their numbers or a slice select; names and codes stay as they are."""
        part = object.__new__(Observations)  # of rows that were checked: there may be thousands of parts
        for column in _COLUMNS:
            object.__setattr__(part, column, getattr(self, column)[mask])
        object.__setattr__(part, "names", self.names)
        return part

    def by_key(self) -> list[tuple[str, Observations]]:
        """Split into one set of rows per key, in order of sending."""
        order = np.argsort(self.sent_ns, kind="stable")
        if len(self.names) > 1:
            narrow = np.uint16 if len(self.names) <= 1 << 16 else np.int64  # short ones are sorted by radix
            order = order[np.argsort(self.key[order].astype(narrow), kind="stable")]
        ordered = self.where(order)
        starts = np.flatnonzero(np.diff(ordered.key, prepend=-1))
        bounds = [*starts.tolist(), len(ordered)]
        return [
            (self.names[code], ordered.where(slice(*bounds[number : number + 2])))
            for number, code in enumerate(ordered.key[starts].tolist())
        ]


_COLUMNS = ("sent_ns", "done_ns", "outcome", "key", "retry_after_ns")


def in_order(instants: IntArray) -> IntArray:
    """Sort instants; those of a record nearly are, which a stable sort makes the most of."""
    return np.sort(instants, kind="stable")


def earlier(instants: IntArray) -> IntArray:
    """Count, for each of some sorted instants, those that are strictly earlier.

    >>> earlier(np.array([3, 5, 5, 9])).tolist()
    [0, 1, 1, 3]
    """
    first = np.arange(len(instants))
    first[1:][instants[1:] == instants[:-1]] = 0
    return np.maximum.accumulate(first)
