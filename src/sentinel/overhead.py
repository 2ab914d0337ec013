"""What a limiter costs per request, with an interval: two arms, the same requests, on one timeline.

Every request of a Poisson stream goes to two senders one shortly after the other, limiter on and limiter off,
in an order that a coin decides. Whatever else the machine does then hits both alike, and only the limiter
tells them apart. Refused requests are compared with the same requests of the arm without, not with all of
that arm: a limit refuses what follows shortly on something else, which finds a server awake. Requests near
each other in time share their luck, so the bootstrap resamples whole seconds, never single requests.

Two figures are compared. The difference of medians says what a typical request pays, and a stall of the
machine does not move it. The difference of means also sees a cost that falls on few requests. A
budget is met when the upper ends of both intervals are inside it, and exceeded when one interval is beyond
it, or is narrow and has its middle there. Anything else decides nothing: noise widens the intervals, so it
neither passes a bad limiter nor fails a good one.

The statistic is pure; sending is `overhead_run`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from sentinel.errors import TooFewSeconds, check_range

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Answer = Literal["allowed", "refused"]
State = Literal["within", "exceeded", "undecided"]
ANSWERS: tuple[Answer, ...] = ("allowed", "refused")

CONFIDENCE = 0.99
RESAMPLES = 2_000
FEWEST_BLOCKS = 8  # below that, the spread of a second's luck is itself a guess
FEWEST_SAMPLES = 100  # per arm
NARROW = 0.2  # an interval no wider than this share of the budget is as exact as it needs to be


@dataclass(frozen=True, slots=True)
class Difference:
    """Hold a difference (on less off) and its interval, in microseconds."""

    value_us: float
    low_us: float
    high_us: float

    def exceeds(self, budget_us: float) -> bool:
        """Tell whether it shows that a budget is exceeded: all of it, or its middle where it is narrow."""
        narrow = self.high_us - self.low_us <= NARROW * budget_us
        return (self.value_us if narrow else self.low_us) > budget_us

    def __str__(self) -> str:
        return f"{self.value_us:+.1f} µs [{self.low_us:+.1f}, {self.high_us:+.1f}]"


@dataclass(frozen=True, slots=True)
class Overhead:
    """State what the limiter adds to requests with one kind of answer.

    `answer` is what the limiter said; the arm without it always serves. `on_us` and `off_us` are the
    medians of the two arms, in microseconds; `blocks` is the number of seconds resampled.
    """

    answer: Answer
    on: int
    off: int
    blocks: int
    on_us: float
    off_us: float
    median: Difference
    mean: Difference

    @property
    def upper_us(self) -> float:
        """Return the worst that the evidence allows, in microseconds: the greater of the two upper ends."""
        return max(self.median.high_us, self.mean.high_us)

    def within(self, budget_us: float) -> bool:
        """Tell whether even the worst that the evidence allows is inside the budget."""
        return self.upper_us <= budget_us

    def state(self, budget_us: float) -> State:
        """Tell whether a budget is met or exceeded, or whether the evidence allows both.

        >>> wide = Difference(5_804.0, -6_571.0, 18_179.0)
        >>> Overhead("allowed", 400, 800, 8, 50.0, 40.0, wide, wide).state(5_000)
        'undecided'
        """
        if self.within(budget_us):
            return "within"
        if self.median.exceeds(budget_us) or self.mean.exceeds(budget_us):
            return "exceeded"
        return "undecided"

    def verdict(self, budget_us: float) -> str:
        """Say it in one sentence."""
        words = {"within": "within", "exceeded": "NOT within", "undecided": "too noisy to tell from"}
        return (
            f"{self.answer} requests: {self.median} at the median, {self.mean} on average; "
            f"{words[self.state(budget_us)]} the budget of {budget_us / 1e3:g} ms "
            f"({self.on} against {self.off} requests)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Hold one experiment as columns: when (ns), whether the limiter was on, its answer, how long it took
    (ns).

    The answer is that of the limiter; what the arm without it served goes by the answer to the same request.
    """

    sent_ns: IntArray
    on: npt.NDArray[np.bool_]
    refused: npt.NDArray[np.bool_]
    service_ns: IntArray
    failed: int = 0

    def __len__(self) -> int:
        return len(self.sent_ns)


def overhead(
    samples: Samples,
    answer: Answer,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Overhead | None:
    """Estimate what the limiter adds to requests it allowed, or to those it refused.

    Returns None where either arm has fewer than 100 such requests. The interval is the estimate plus or
    minus Student's t times the bootstrap's standard error over one-second blocks; with few blocks the plain
    percentile interval is too narrow. Raises TooFewSeconds for fewer than 8 seconds with both arms,
    ConfigurationError for a confidence outside 0.5 to 0.9999.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.

    >>> rng = np.random.default_rng(1)
    >>> on = rng.random(16_000) < 0.5
    >>> took = rng.lognormal(5.5, 0.2, 16_000) * 1e3 + on * 50_000
    >>> sent = np.arange(16_000) * 1_000_000
    >>> found = overhead(Samples(sent, on, np.zeros(16_000, bool), took.astype(np.int64)), "allowed")
    >>> found.median.low_us < 50 < found.median.high_us, found.within(5_000)
    (True, True)
    """
    check_range("confidence", confidence, 0.5, 0.9999)
    check_range("resamples", resamples, 100, 1_000_000)
    kept = samples.refused == (answer == "refused")
    on, took = samples.on[kept], samples.service_ns[kept]
    if min(int(on.sum()), int((~on).sum())) < FEWEST_SAMPLES:
        return None
    second = (samples.sent_ns[kept] - int(samples.sent_ns.min())) // 1_000_000_000
    both = np.intersect1d(second[on], second[~on])
    if len(both) < FEWEST_BLOCKS:
        raise TooFewSeconds(
            f"{answer} requests have {len(both)} seconds with both arms; at least {FEWEST_BLOCKS} are needed"
        )
    shared = np.isin(second, both)
    on, took, block = on[shared], took[shared], np.searchsorted(both, second[shared])
    weights = np.random.default_rng(seed).multinomial(len(both), np.full(len(both), 1 / len(both)), resamples)
    arms = [_Arm.of(took[side], block[side], len(both)) for side in (on, ~on)]
    medians = arms[0].medians(weights) - arms[1].medians(weights)
    means = arms[0].means(weights) - arms[1].means(weights)
    return Overhead(
        answer,
        on=int(on.sum()),
        off=int((~on).sum()),
        blocks=len(both),
        on_us=arms[0].median / 1e3,
        off_us=arms[1].median / 1e3,
        median=_interval(arms[0].median - arms[1].median, medians, len(both), confidence),
        mean=_interval(arms[0].mean - arms[1].mean, means, len(both), confidence),
    )


def overheads(samples: Samples, *, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[Overhead, ...]:
    """Estimate the overhead of allowed and of refused requests, as far as there were enough of either.

    Raises TooFewSeconds where those of one kind are in fewer than 8 of the seconds.
    """
    found = (overhead(samples, kind, confidence=confidence, seed=seed) for kind in ANSWERS)
    return tuple(entry for entry in found if entry is not None)


def _interval(estimate: float, resampled: FloatArray, blocks: int, confidence: float) -> Difference:
    error = float(resampled.std()) * (blocks / (blocks - 1)) ** 0.5
    reach = student_t(0.5 + confidence / 2, blocks - 1) * error
    return Difference(estimate / 1e3, (estimate - reach) / 1e3, (estimate + reach) / 1e3)


def student_t(p: float, freedom: int) -> float:
    """Give the p-quantile of Student's t by expanding the normal quantile; within 1 % for 5 degrees and more.

    Source: M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.7.5.

    >>> round(student_t(0.995, 15), 2), round(student_t(0.995, 10_000), 2)
    (2.95, 2.58)
    """
    x, n = NormalDist().inv_cdf(p), freedom
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return float(x + sum(term / n**power for power, term in enumerate(terms, 1)))


@dataclass(frozen=True, slots=True, eq=False)
class _Arm:
    """One arm, sorted by duration once, so that a resample only re-weighs it."""

    took: IntArray
    block: IntArray
    sums: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, took: IntArray, block: IntArray, blocks: int) -> _Arm:
        order = np.argsort(took)
        sums = np.bincount(block, weights=took.astype(np.float64), minlength=blocks)
        counts = np.bincount(block, minlength=blocks).astype(np.int64)
        return cls(took[order], block[order], sums.astype(np.float64), counts)

    @property
    def median(self) -> float:
        return float(np.median(self.took))

    @property
    def mean(self) -> float:
        return float(self.took.mean())

    def means(self, weights: IntArray) -> FloatArray:
        return np.asarray((weights @ self.sums) / np.maximum(weights @ self.counts, 1))

    def medians(self, weights: IntArray) -> FloatArray:
        found = np.empty(len(weights))
        for row, weight in enumerate(weights.astype(np.int32)):
            reached = np.cumsum(weight[self.block])
            found[row] = self.took[np.searchsorted(reached, (reached[-1] + 1) // 2)]
        return found
