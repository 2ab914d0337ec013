"""Counts of durations in log-linear buckets: small, mergeable, within 0.8 % of every sample.

A value below 256 ns has a bucket of its own; above that every octave is cut into 128 buckets of equal
width, so a bucket is never wider than 1/128 of its lower edge. The bucket number is the exponent and the
first seven bits of the fraction of the value as a double, which numpy reads off for a whole batch at once.

This module knows nothing of seconds, series or requests.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from sentinel.errors import ConfigurationError, RecordError

BUCKETS_PER_OCTAVE = 128
LARGEST = (1 << 53) - 1  # 104 days in nanoseconds: the largest odd integer a double still holds exactly
SAMPLES_ABOVE = 10  # a percentile that fewer samples than this lie above is noise, and is not shown

_FORMAT = 1
_SHIFT = 45  # 52 bits of fraction less the 7 that number the buckets of an octave
_ORIGIN = (1023 + 6) << 7

Ints = npt.NDArray[np.int64]


def bucket_of(values: Ints) -> Ints:
    """Number the bucket of each value (integers in 0 .. LARGEST).

    >>> bucket_of(np.array([0, 255, 256, 257, 258])).tolist()
    [0, 255, 256, 256, 257]
    """
    bits = values.astype(np.float64).view(np.int64)
    return np.where(values < BUCKETS_PER_OCTAVE, values, (bits >> _SHIFT) - _ORIGIN)


def bucket_edges(buckets: Ints) -> tuple[Ints, Ints]:
    """Give the lowest and the highest value of each bucket, both inclusive.

    >>> [edge.tolist() for edge in bucket_edges(np.array([255, 256, 384]))]
    [[255, 256, 512], [255, 257, 515]]
    """
    octave = np.maximum(buckets // BUCKETS_PER_OCTAVE - 1, 0)
    low = (buckets - octave * BUCKETS_PER_OCTAVE) << octave
    return low, low + (np.int64(1) << octave) - 1


class Histogram:
    """Count integer nanoseconds in log-linear buckets; mergeable, and compact on disk.

    >>> h = Histogram(range(1, 100_001))
    >>> h.count, h.min, h.max, h.mean
    (100000, 1, 100000, 50000.5)
    >>> abs(h.percentile(99) - 99_000) < 0.008 * 99_000
    True
    >>> h.percentile(99.999) is None  # only one sample lies above it
    True
    """

    __slots__ = ("_buckets", "_counts", "count", "max", "min", "total")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._buckets: Ints = np.empty(0, np.int64)
        self._counts: Ints = np.empty(0, np.int64)
        self.count = 0
        self.total = 0
        self.min = 0
        self.max = 0
        self.add_many(values)

    @classmethod
    def of_buckets(cls, buckets: Ints, counts: Ints, *, total: int, low: int, high: int) -> Histogram:
        """Build one from counted buckets (ascending, each once) and the samples' sum and extremes."""
        made = cls()
        made._buckets, made._counts = buckets, counts
        made.count, made.total, made.min, made.max = int(counts.sum()), total, low, high
        return made

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """Add up any number of histograms into a new one; none of them is changed."""
        filled = [part for part in parts if part.count]
        made = cls()
        if not filled:
            return made
        dense = np.zeros(max(int(part._buckets[-1]) for part in filled) + 1, np.int64)
        for part in filled:
            dense[part._buckets] += part._counts
        made._buckets = np.flatnonzero(dense)
        made._counts = dense[made._buckets]
        made.count = sum(part.count for part in filled)
        made.total = sum(part.total for part in filled)
        made.min = min(part.min for part in filled)
        made.max = max(part.max for part in filled)
        return made

    def add_many(self, values: Iterable[int] | Ints) -> None:
        """Count a batch of samples (integers, 0 .. LARGEST nanoseconds); raise ConfigurationError outside."""
        batch = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.int64)
        if not batch.size:
            return
        low, high = int(batch.min()), int(batch.max())
        if low < 0 or high > LARGEST:
            raise ConfigurationError(
                f"a sample is {low if low < 0 else high} ns; it must be in 0 .. {LARGEST:,}"
            )
        counts = np.bincount(bucket_of(batch))  # a few thousand places at most, and no sorting
        buckets = np.flatnonzero(counts)
        fresh = Histogram.of_buckets(buckets, counts[buckets], total=int(batch.sum()), low=low, high=high)
        self.merge(fresh)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's samples to this one."""
        both = Histogram.merged((self, other))
        for name in Histogram.__slots__:
            setattr(self, name, getattr(both, name))

    @property
    def mean(self) -> float | None:
        """Give the exact mean of the samples in nanoseconds; None when there are none."""
        return self.total / self.count if self.count else None

    def percentile(self, p: float) -> float | None:
        """Give the p-th percentile (0 < p < 100) in nanoseconds, or None when it would be noise.

        It is the middle of the bucket that holds the sample of rank ceil(p/100 x count), so within 0.8 % of
        it; None when fewer than 10 samples lie above that rank. Raises ConfigurationError for p outside (0,
        100).
        """
        if not 0 < p < 100:
            raise ConfigurationError(f"percentile is {p}; it must lie between 0 and 100, both excluded")
        rank = -int(-(p * self.count / 100 - 1e-9) // 1)
        if self.count - rank < SAMPLES_ABOVE:
            return None
        return self.value_at(max(rank, 1))

    def value_at(self, rank: int) -> float:
        """Give the sample of this rank (1 is the smallest, `count` the largest), within 0.8 %."""
        if not 1 <= rank <= self.count:
            raise ConfigurationError(
                f"rank is {rank}; it must be between 1 and the {self.count} samples held"
            )
        place = int(np.searchsorted(np.cumsum(self._counts), rank))
        low, high = bucket_edges(self._buckets[place : place + 1])
        return float(min(max((int(low[0]) + int(high[0])) / 2, self.min), self.max))

    def count_above(self, value: float) -> int:
        """Count the samples in buckets that lie wholly above `value` (nanoseconds)."""
        return int(self._counts[bucket_edges(self._buckets)[0] > value].sum())

    def buckets(self) -> tuple[Ints, Ints, Ints]:
        """Give the filled buckets, ascending: lowest values, highest values, counts (copies)."""
        low, high = bucket_edges(self._buckets)
        return low, high, self._counts.copy()

    def copy(self) -> Histogram:
        """Give an independent copy."""
        return Histogram.merged((self,))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, min={self.min}, mean={self.mean}, max={self.max})"

    def to_bytes(self) -> bytes:
        """Pack it into a few hundred bytes: a version, then variable-length integers."""
        gaps = np.diff(self._buckets, prepend=0).tolist()
        numbers = [len(gaps), self.total, self.min, self.max]
        for gap, count in zip(gaps, self._counts.tolist(), strict=True):
            numbers += (gap, count)
        return bytes((_FORMAT,)) + _pack(numbers)

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """Read what `to_bytes` wrote; raise RecordError for anything else."""
        if not data or data[0] != _FORMAT:
            raise RecordError(f"a histogram starts with {data[:1]!r}; only format {_FORMAT} can be read")
        numbers = _unpack(data[1:])
        if len(numbers) < 4 or len(numbers) != 4 + 2 * numbers[0]:
            raise RecordError(f"a histogram of {len(data)} bytes is cut short or damaged")
        size, total, low, high = numbers[:4]
        if not size:
            return cls()
        pairs = np.array(numbers[4:], np.int64).reshape(size, 2)
        return cls.of_buckets(np.cumsum(pairs[:, 0]), pairs[:, 1].copy(), total=total, low=low, high=high)


def _pack(numbers: Iterable[int]) -> bytes:
    """Write non-negative integers as 7 bits a byte, least first, the high bit meaning "more"."""
    out = bytearray()
    for number in numbers:
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7
        out.append(number)
    return bytes(out)


def _unpack(data: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for byte in data:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise RecordError("a histogram ends in the middle of a number")
    return numbers
