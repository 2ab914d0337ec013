"""Sampling: honest figures on a machine that changes speed.

Every sample lies between two runs of a fixed calibration loop. The series of a section take turns in random
order, so that a slow phase hits all of them; samples whose calibration was slow are thrown away and taken
again. Figures are medians of samples, with a bootstrap interval. Knows nothing of what is measured.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

SLOW = 1.15
"""A sample counts when its calibration took at most this many times the run's quick calibrations."""
MOST_ATTEMPTS = 3
"""Samples taken at most, as a multiple of the samples wanted."""

_clock = time.perf_counter_ns


def _clock_cost() -> int:
    """Nanoseconds between two readings of the clock with nothing in between."""
    seen = []
    for _ in range(2000):
        start = _clock()
        seen.append(_clock() - start)
    return round(median(seen))


CLOCK = _clock_cost()


class WorkloadError(Exception):
    """A benchmark has not done what it claims to measure: its figures would be worthless."""


@dataclass(slots=True)
class Measured:
    """What one sample measured, and how fast the machine was meanwhile. Nanoseconds per operation."""

    median: float
    """Of operations timed one by one, less what the clock takes: the figure that is compared."""
    p99: float
    mean: float
    """Over a batch: what it takes with everything that happens now and then, preemption included."""
    calibration: int


@dataclass(slots=True)
class Series:
    """One thing to measure.

    Args:
        name: what it is, as printed.
        role: "ours", "peer", "floor" or "bare".
        batch: run this many operations, return nanoseconds.
        singles: run this many operations one by one, return the nanoseconds of each.
        check: given the number of operations run so far, raise WorkloadError if they were not what the
            series claims (admitted, refused, charged).
        size: operations per sample; half of them in a batch, half one by one.
        first: operations to run before the first sample, such as everybody's first request.
    """

    name: str
    role: str
    batch: Callable[[int], int]
    singles: Callable[[int], list[int]]
    check: Callable[[int], None]
    size: int
    first: int = 0
    done: int = 0
    samples: list[Measured] = field(default_factory=list)
    dropped: int = 0

    def sample(self) -> Measured:
        """Take one sample between two calibrations, and check the workload."""
        half = self.size // 2
        before = calibrate()
        elapsed = self.batch(half)
        between = calibrate()
        singles = sorted(self.singles(half))
        after = calibrate()
        self.done += 2 * half
        self.check(self.done)
        return Measured(
            median=singles[half // 2] - CLOCK,
            p99=singles[int(half * 0.99)] - CLOCK,
            mean=elapsed / half,
            calibration=max(before, between, after),
        )

    def median(self) -> float:
        """Nanoseconds per operation."""
        return median(sample.median for sample in self.samples)

    def p99(self) -> float:
        """The slowest operation in a hundred, in the first quartile of samples.

        What else runs on the machine only ever adds to it, by the milliseconds of a time slice.
        """
        return sorted(sample.p99 for sample in self.samples)[len(self.samples) // 4]

    def mean(self) -> float:
        """Nanoseconds per operation over whole batches, in the median sample."""
        return median(sample.mean for sample in self.samples)


def calibrate() -> int:
    """Nanoseconds of a fixed mix of what the measured code does: calls, dicts, integers, small tuples."""
    table = {i: (i, i + 1) for i in range(64)}
    start = _clock()
    total = 0
    for i in range(12_000):
        pair = table[i & 63]
        total += pair[1] // 3 - pair[0] // 7
    return _clock() - start


def interleave(series: Sequence[Series], rounds: int, seed: int = 1) -> int:
    """Take `rounds` samples of every series in turns; return the quick calibration in nanoseconds."""
    order = random.Random(seed)
    gc.collect()
    gc.freeze()
    for each in series:
        each.batch(each.first)
        each.done += each.first
    for each in series:  # warm up: caches, specialised bytecode, frequency
        each.sample()
    taken: dict[str, list[Measured]] = {each.name: [] for each in series}
    quick = 0.0
    for turn in range(rounds * MOST_ATTEMPTS):
        wanting = [each for each in series if turn < rounds or len(_quick(taken[each.name], quick)) < rounds]
        if not wanting:
            break
        order.shuffle(wanting)
        for each in wanting:
            taken[each.name].append(each.sample())
        seen = sorted(sample.calibration for samples in taken.values() for sample in samples)
        quick = seen[len(seen) // 10]
    gc.unfreeze()
    for each in series:
        samples = taken[each.name]
        kept = _quick(samples, quick)
        if len(kept) < 3:  # the machine was slow all along for this one: keep the best of what there is
            kept = sorted(samples, key=lambda sample: sample.calibration)[: max(3, rounds // 2)]
        each.samples = kept
        each.dropped = len(samples) - len(kept)
    return round(quick)


def _quick(samples: list[Measured], quick: float) -> list[Measured]:
    return [sample for sample in samples if sample.calibration <= quick * SLOW]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and where it lies with 95 % confidence."""

    value: float
    low: float
    high: float


def bootstrap(
    figure: Callable[[list[float], list[float]], float],
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    draws: int = 500,
) -> Interval:
    """The 95 % interval of a figure made of two medians, by resampling both lists."""
    chance = random.Random(7)
    seen = sorted(
        figure(chance.choices(ours, k=len(ours)), chance.choices(theirs, k=len(theirs))) for _ in range(draws)
    )
    return Interval(figure(list(ours), list(theirs)), seen[int(draws * 0.025)], seen[int(draws * 0.975)])


def ratio(ours: Series, theirs: Series) -> Interval:
    """How many times as long as ours theirs takes."""
    return bootstrap(lambda a, b: median(b) / median(a), _medians(ours), _medians(theirs))


def added(ours: Series, bare: Series) -> Interval:
    """Nanoseconds that ours takes longer than the bare thing."""
    return bootstrap(lambda a, b: median(a) - median(b), _medians(ours), _medians(bare))


def _medians(series: Series) -> list[float]:
    return [sample.median for sample in series.samples]
