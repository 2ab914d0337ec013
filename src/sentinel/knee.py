"""Where a target stops keeping up: steps of rising load, the interval of each step's p95, and two
cross-checks.

The knee is the first step from which the p95 stays above the floor's by a fifth, interval against interval.
Latency alone can be fooled by a cold cache or a noisy neighbour, so the knee is confirmed by what was
achieved of what was offered, and the record itself by Little's law: requests under way = completions per
second x mean response.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sentinel.figures import by_second, latency
from sentinel.histogram import Histogram
from sentinel.run import RunRecord, Tick

RISE = 1.2
STEPS = 12
FEWEST_SECONDS = 3
FEWEST_SAMPLES = 100
FEWEST_UNDER_WAY = 10  # requests x seconds: in-flight counts are ten samples a second, below this mere luck
KEEPING_UP = 0.97
_RESAMPLES = 300
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Hold what one step of load met: offered and achieved requests/s, the p95 with its interval (ms)."""

    offered: float
    achieved: float
    users: float
    seconds: int
    samples: int
    p95_ms: float
    low_ms: float
    high_ms: float
    little: float | None

    @property
    def share(self) -> float:
        """Return what was achieved of what was offered (1 = all of it)."""
        return self.achieved / self.offered if self.offered else 1.0


@dataclass(frozen=True, slots=True)
class Knee:
    """State at which load the target stopped keeping up, and what speaks for it.

    `confirmed` means that completions fell behind as well; otherwise only latency says so.
    """

    offered: float
    users: float
    p95_ms: float
    floor_ms: float
    confirmed: bool
    statement: str


def load_steps(record: RunRecord) -> tuple[LoadStep, ...]:
    """Cut the run, up to the end of its highest load, into at most 12 steps of rising offered load.

    What follows the peak is left out: a target that has not yet recovered says nothing about its knee.
    """
    planned = np.array(record.planned, np.float64)
    if not len(planned) or planned.max() <= 0:
        return ()
    last = int(np.flatnonzero(planned >= 0.9 * planned.max())[-1])
    seconds = np.arange(last + 1)
    edges = np.linspace(0, planned.max() * (1 + 1e-9), STEPS + 1)
    place = np.digitize(planned[: last + 1], edges)
    grouped = [seconds[(place == step) & (planned[: last + 1] > 0)] for step in range(1, STEPS + 1)]
    ticks = by_second(record)
    found = (_step(record, ticks, group.tolist()) for group in grouped if len(group) >= FEWEST_SECONDS)
    return tuple(step for step in found if step is not None)


def _step(record: RunRecord, ticks: tuple[tuple[Tick, ...], ...], seconds: list[int]) -> LoadStep | None:
    parts = [latency(ticks[second]) for second in seconds]
    merged = Histogram.merged(parts)
    if merged.count < FEWEST_SAMPLES:
        return None
    low, middle, high = _p95(parts)
    completed = _mean(record.done, seconds)
    everything = Histogram.merged(tick.response for second in seconds for tick in ticks[second])
    response_s = (everything.mean or 0.0) / 1e9
    expected = completed * response_s
    under_way = _mean(record.in_flight, seconds)
    return LoadStep(
        offered=_mean(record.planned, seconds),
        achieved=completed,
        users=_mean(record.users, seconds),
        seconds=len(seconds),
        samples=merged.count,
        p95_ms=middle / 1e6,
        low_ms=low / 1e6,
        high_ms=high / 1e6,
        little=under_way / expected
        if expected * len(seconds) >= FEWEST_UNDER_WAY and record.in_flight
        else None,
    )


def _mean(values: tuple[int, ...] | tuple[float, ...], seconds: list[int]) -> float:
    kept = [values[second] for second in seconds if second < len(values)]
    return float(sum(kept) / len(kept)) if kept else 0.0


def _p95(parts: list[Histogram]) -> tuple[float, float, float]:
    """Bootstrap the p95 over whole seconds; requests within a second share their luck."""
    filled = [part.buckets() for part in parts if part.count]
    middles = np.unique(np.concatenate([(low + high) / 2 for low, high, _ in filled]))
    table = np.zeros((len(filled), len(middles)))
    for row, (low, high, counts) in enumerate(filled):
        table[row, np.searchsorted(middles, (low + high) / 2)] = counts
    chance = np.full(len(filled), 1 / len(filled))
    weights = np.random.default_rng(95).multinomial(len(filled), chance, _RESAMPLES)
    reached = np.cumsum(np.vstack([np.ones((1, len(filled))), weights]) @ table, axis=1)
    place = np.argmax(reached >= 0.95 * reached[:, -1:], axis=1)
    values = middles[place]
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(values[1:], (tail, 1 - tail))
    return float(low), float(values[0]), float(high)


def knee(steps: tuple[LoadStep, ...]) -> Knee | None:
    """Find the first step from which the p95's interval stays above the floor's by 20 %; None if there is
    none.

    The floor is the lowest p95 among the lower half of the steps.

    >>> def at(rate, p95, achieved): return LoadStep(rate, achieved, 0, 5, 900, p95, p95 - 1, p95 + 1, 1.0)
    >>> found = knee((at(100, 10, 100), at(200, 10, 200), at(300, 11, 300), at(400, 60, 330)))
    >>> found.offered, found.confirmed
    (400, True)
    """
    if len(steps) < 3:
        return None
    floor = min(steps[: (len(steps) + 1) // 2], key=lambda step: step.p95_ms)
    begin = len(steps)
    while begin and steps[begin - 1].low_ms > RISE * floor.high_ms:
        begin -= 1
    if begin == len(steps):
        return None
    bent = steps[begin]
    behind = min(steps[begin:], key=lambda step: step.share)
    confirmed = behind.share < KEEPING_UP
    words = (
        f"; from there on as little as {behind.share:.0%} of the offered load was completed"
        if confirmed
        else "; all of the offered load was still completed, so only latency says so"
    )
    return Knee(
        bent.offered,
        bent.users,
        bent.p95_ms,
        floor.p95_ms,
        confirmed,
        f"knee at {bent.offered:.0f} requests/s: p95 {bent.p95_ms:.1f} ms against {floor.p95_ms:.1f} ms "
        f"at low load{words}",
    )
