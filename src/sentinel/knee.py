"""Where a target stops keeping up: steps of rising load, the interval of each step's p95, and two
cross-checks.

The knee is the first step from which the p95 stays above the floor's by a fifth, interval against interval.
Too few steps, or steps of much the same load, say nothing of a knee: neither that there is one nor that there
is none.
Latency alone can be fooled by a cold cache or a noisy neighbour. So the rise must last: three of four
stretches at the same load show it. It must show in the seconds in which others did not take more of the
machine than at low load; if it does not, nobody can tell whose it is. And it is confirmed by what was
achieved of what was offered, as the record itself is by Little's law: requests under way = completions per
second x mean time under way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from sentinel.figures import by_second, latency
from sentinel.histogram import Histogram
from sentinel.neighbours import SHARE, named, quiet, used_by_others
from sentinel.run import RunRecord, Tick

RISE = 1.2
FELT_MS = 1.0  # a rise of the p95 by less is the machine's mood as often as the target's
STEPS = 12
FEWEST_STEPS = 3
FEWEST_SECONDS = 3
SPREAD = 1.5  # of the highest over the lowest step; chance alone spreads a constant load as well
FEWEST_SAMPLES = 100
FEWEST_UNDER_WAY = 10  # requests x seconds: in-flight counts are ten samples a second, below this mere luck
# The samples are taken between two turns of the sending loop, so what a turn takes (up to a millisecond for
# each request) counts as time under way: below this a fifth of it and more, whatever the target does.
SHORTEST_UNDER_WAY_S = 0.005
KEEPING_UP = 0.97
_RESAMPLES = 300
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LoadStep:
    """Hold what one step of load met: offered and achieved requests/s, the p95 with its interval (ms).

    lasting_ms: what the p95 of three of four stretches of its time is at least. One noisy stretch lifts the
    p95 of all, not this.
    """

    offered: float
    achieved: float
    users: float
    seconds: int
    samples: int
    p95_ms: float
    low_ms: float
    high_ms: float
    little: float | None
    lasting_ms: float | None = None

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


def load_steps(record: RunRecord, *, undisturbed: bool = False) -> tuple[LoadStep, ...]:
    """Cut the run, up to the end of its highest load, into at most 12 steps of rising offered load.

    Neighbouring steps with too few seconds or samples are one, so a quick ramp has fewer and wider steps.
    What follows the peak is left out: a target that has not yet recovered says nothing about its knee.
    undisturbed: leave out seconds in which others took more of the machine than at low load.
    """
    planned = np.array(record.planned, np.float64)
    if not len(planned) or planned.max() <= 0:
        return ()
    last = int(np.flatnonzero(planned >= 0.9 * planned.max())[-1])
    seconds = np.arange(last + 1)
    edges = np.linspace(0, planned.max() * (1 + 1e-9), STEPS + 1)
    place = np.digitize(planned[: last + 1], edges)
    groups = [seconds[(place == step) & (planned[: last + 1] > 0)].tolist() for step in range(1, STEPS + 1)]
    if undisturbed:
        low = [at for group in groups[: STEPS // 2] for at in group]
        groups = [
            quiet(record, group, low, alike=[*below, *group])
            for below, group in zip([[], *groups], groups, strict=False)
        ]
    ticks = by_second(record)
    samples = [latency(group).count for group in ticks]
    return tuple(_step(record, ticks, group) for group in _filled(groups, samples))


def _filled(groups: list[list[int]], samples: list[int]) -> list[list[int]]:
    """Join neighbouring groups of seconds, the lowest load first, until each has enough to tell a p95."""
    filled: list[list[int]] = []
    gathered: list[int] = []
    for group in groups:
        gathered = gathered + group
        if len(gathered) >= FEWEST_SECONDS and sum(samples[second] for second in gathered) >= FEWEST_SAMPLES:
            filled.append(gathered)
            gathered = []
    if gathered and filled:
        filled[-1] = filled[-1] + gathered
    return filled


def _step(record: RunRecord, ticks: tuple[tuple[Tick, ...], ...], seconds: list[int]) -> LoadStep:
    parts = [latency(ticks[second]) for second in seconds]
    merged = Histogram.merged(parts)
    low, middle, high = _p95(parts)
    completed = _mean(record.done, seconds)
    everything = Histogram.merged(tick.service for second in seconds for tick in ticks[second])
    # Not the response time: what waits to be sent is not under way.
    service_s = (everything.mean or 0.0) / 1e9
    expected = completed * service_s
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
        if service_s >= SHORTEST_UNDER_WAY_S
        and expected * len(seconds) >= FEWEST_UNDER_WAY
        and record.in_flight
        else None,
        lasting_ms=_lasting(parts) / 1e6,
    )


def _lasting(parts: list[Histogram]) -> float:
    """Give what the p95 of three of four stretches, each with enough samples to tell it, is at least."""
    p95s, gathered = [], Histogram()
    for part in parts:
        gathered = Histogram.merged((gathered, part))
        if gathered.count >= FEWEST_SAMPLES:
            p95s.append(gathered.value_at(ceil(0.95 * gathered.count)))
            gathered = Histogram()
    return sorted(p95s)[(len(p95s) - 1) // 4]


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


def too_little(steps: tuple[LoadStep, ...]) -> str:
    """Say why these steps tell nothing of a knee; an empty text when they do.

    >>> too_little(())
    'no load, or none with enough seconds and samples to tell a p95'
    """
    if not steps:
        return "no load, or none with enough seconds and samples to tell a p95"
    lowest, highest = steps[0].offered, steps[-1].offered
    if len(steps) < FEWEST_STEPS:
        return (
            f"too few steps of rising load to tell ({len(steps)} of at least {FEWEST_STEPS}, each of "
            f"{FEWEST_SECONDS} s and {FEWEST_SAMPLES} samples)"
        )
    if highest < SPREAD * lowest:
        return f"the load did not rise enough to look for one ({_span(lowest, highest)} requests/s)"
    return ""


def _span(lowest: float, highest: float) -> str:
    low, high = f"{lowest:,.0f}", f"{highest:,.0f}"
    return low if low == high else f"{low} to {high}"


def no_knee(steps: tuple[LoadStep, ...]) -> str:
    """Say over which loads no knee was found, or why nothing can be said."""
    why = too_little(steps)
    if why:
        return f"knee unknown: {why}"
    span = _span(steps[0].offered, steps[-1].offered)
    return f"no knee from {span} requests/s: no lasting rise of the p95 by {RISE - 1:.0%} and {FELT_MS:g} ms"


def _above(step: LoadStep, floor: LoadStep) -> bool:
    bound = RISE * floor.high_ms
    lasting = bound if step.lasting_ms is None else step.lasting_ms
    return step.low_ms > bound <= lasting and step.p95_ms >= floor.p95_ms + FELT_MS


def find_knee(record: RunRecord, steps: tuple[LoadStep, ...]) -> tuple[Knee | None, str, bool]:
    """Look for a run's knee: the knee, a sentence, and whether other programs leave it unknown.

    A rise counts only if it shows in seconds in which others were no busier than at low load.
    """
    found = knee(load_steps(record, undisturbed=True))
    if found is not None:
        share = _used(record, found)
        if share >= SHARE:
            words = f"{found.statement}; {named(record)} used {share:.0%} of the machine then"
            found = replace(found, statement=words)
        return found, found.statement, False
    apparent = knee(steps)
    if apparent is None:
        return None, no_knee(steps), False
    words = f"the p95 rises from {apparent.offered:,.0f} requests/s on, not so in the seconds in which"
    busy = f"{named(record)} used {_used(record, apparent):.0%} of the machine then"
    return None, f"knee unknown: {words} others took no more than at low load ({busy})", True


def _used(record: RunRecord, bent: Knee) -> float:
    return used_by_others(record, [at for at, rate in enumerate(record.planned) if rate >= bent.offered])


def knee(steps: tuple[LoadStep, ...]) -> Knee | None:
    """Find the first step from which the p95's interval stays above the floor's by 20 %, and the p95 by 1 ms,
    in most of its time; None if there is none, or too little to tell.

    The floor is the lowest p95 among the lower half of the steps.

    >>> def at(rate, p95, achieved): return LoadStep(rate, achieved, 0, 5, 900, p95, p95 - 1, p95 + 1, 1.0)
    >>> found = knee((at(100, 10, 100), at(200, 10, 200), at(300, 11, 300), at(400, 60, 330)))
    >>> found.offered, found.confirmed
    (400, True)
    """
    if too_little(steps):
        return None
    floor = min(steps[: (len(steps) + 1) // 2], key=lambda step: step.p95_ms)
    begin = len(steps)
    while begin and _above(steps[begin - 1], floor):
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
