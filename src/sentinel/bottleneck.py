"""What limits a target: from what would invalidate the question to what remains.

Where the processes that serve the target are known, processor time is told from waiting by what they used
themselves. Elsewhere it is told by what the load added: the machine's use beyond the knee is compared with
that at low load, so that what other programs use all the time accuses nobody; whose time it is that does not
tell. The sentence says which of the two it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sentinel.figures import Figures, by_series, latency
from sentinel.knee import Knee, LoadStep, too_little
from sentinel.run import RunRecord

BottleneckKind = Literal["none", "unknown", "generator", "shedding", "limiter", "server-cpu", "server-wait"]

SHED_SHARE = 0.01
DENIED_SHARE = 0.5
BUSY_CORE = 0.9
IDLE_CORE = 0.25
BUSY_PROCESS = 0.8  # of a core: one that computes all the time, less what others take from it
BUSY_SELF = 0.6  # of the generator's core: an app that is called in its process computes on it
# Of the knee's load: below the first it was felt nowhere, from the second on it was.
_CALM, _LOADED = 0.6, 0.95
_GROWN = 1.2  # less is no suffering: the knee itself asks for as much
_LOW, _HIGH = 0.25, 0.75
_FEWEST_S = 3


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Name what limits the target, the series that suffers most, and the evidence in a sentence."""

    kind: BottleneckKind
    series: str | None
    statement: str


def bottleneck(
    record: RunRecord,
    total: Figures,
    bent: Knee | None,
    steps: tuple[LoadStep, ...],
    *,
    disturbed: bool = False,
) -> Bottleneck:
    """Name the bottleneck of a run, or say why it cannot be named.

    disturbed: other programs leave it unknown whether there is a knee.
    """
    if record.void:
        return Bottleneck("generator", None, "unknown: the generator could not keep its schedule")
    if total.counts["shed"] > SHED_SHARE * total.requests:
        share = total.counts["shed"] / total.requests
        text = f"the target sheds load: {share:.1%} of the requests were answered with 503"
        return Bottleneck("shedding", None, text)
    if bent is not None:
        return _server(record, bent)
    if total.denied_rate > DENIED_SHARE:
        text = f"the limits: {total.denied_rate:.0%} of the requests were refused, as called for"
        return Bottleneck("limiter", None, text)
    if disturbed:
        return Bottleneck("unknown", None, "unknown: other programs used the machine as well")
    if too_little(steps):
        return Bottleneck("unknown", None, "unknown, because it is unknown whether there is a knee")
    return Bottleneck("none", None, f"none found up to {steps[-1].offered:,.0f} requests/s")


def _server(record: RunRecord, bent: Knee) -> Bottleneck:
    # A target that still works off a queue is not calm, whatever is planned.
    calm = [
        second
        for second, rates in enumerate(zip(record.planned, record.done, strict=False))
        if rates[0] and max(rates) < _CALM * bent.offered
    ]
    loaded = [s for s, rate in enumerate(record.planned) if rate >= _LOADED * bent.offered]
    earlier = [second for second in calm if second < min(loaded, default=0)]
    if len(earlier) >= _FEWEST_S:
        calm = earlier  # what comes after the load may still suffer from it, however little is planned
    series, growth = _most_grown(record, set(calm), set(loaded))
    suffers = f"; {series} suffers most, its p95 grew {growth:.1f}-fold" if growth >= _GROWN else ""
    kind, text = _use(record, calm, loaded)
    return Bottleneck(kind, series, text + suffers)


def _use(record: RunRecord, calm: Sequence[int], loaded: Sequence[int]) -> tuple[BottleneckKind, str]:
    """Tell processor time from waiting by how the use of the machine rose with the load."""
    told = record.host.get("cores", 1)
    cores = told if isinstance(told, int) else 1
    before, beyond = _share(record.others_cpu, calm, _HIGH), _share(record.others_cpu, loaded, _LOW)
    if before is None or beyond is None or not any(record.others_cpu):
        return (
            "unknown",
            "unknown: the use of the processor at low load and beyond the knee cannot be compared",
        )
    before, beyond = before * cores, beyond * cores
    own = _share(record.generator_cpu, loaded, _LOW) or 0.0
    known = _target_use(record, calm, loaded, left=cores - beyond - own, rise=beyond - before)
    if known is not None:
        return known
    rose = f"all programs but the generator used {before:.1f} cores before the knee, {beyond:.1f} beyond it"
    little, much = _share(record.done, calm, _HIGH) or 0.0, _share(record.done, loaded, _LOW) or 0.0
    # What the load takes is in proportion to the requests served: the rise stands for their difference only.
    taken = (beyond - before) * much / (much - little) if much > little else beyond - before
    if taken >= BUSY_CORE:
        return "server-cpu", f"processor time: {rose}"
    if own >= BUSY_SELF:
        text = f"unknown: this process itself computed ({own:.1f} cores), an app called in it among that"
        return "unknown", text
    if cores - beyond - own < IDLE_CORE:
        return "unknown", f"unknown: the machine was busy at low load as well ({rose}, of {cores})"
    return "server-wait", f"waiting, not computing: a lock, a pool or a downstream service ({rose})"


def _target_use(
    record: RunRecord, calm: Sequence[int], loaded: Sequence[int], *, left: float, rise: float
) -> tuple[BottleneckKind, str] | None:
    """Tell by the target's own processes; None where they are not known.

    left: cores that nobody used beyond the knee. rise: cores that all programs but the generator used more.
    """
    before, beyond = _share(record.target_cpu, calm, _HIGH), _share(record.target_cpu, loaded, _LOW)
    busiest = _share(record.target_busiest, loaded, _LOW)
    if before is None or beyond is None or busiest is None:
        return None
    used = f"the target's own processes used {before:.1f} cores before the knee, {beyond:.1f} beyond it"
    if busiest >= BUSY_PROCESS:
        return "server-cpu", f"processor time: {used}, the busiest of them {busiest:.1f}"
    others = rise - (beyond - before)
    if left < IDLE_CORE and beyond - before > others:
        return "server-cpu", f"processor time: {used}, and the machine had none left"
    if left < IDLE_CORE and others < BUSY_CORE:
        return "unknown", f"unknown: {used}, on a machine that other programs kept busy at low load as well"
    beside = f"; other programs used {others:.1f} more with the load" if others >= IDLE_CORE else ""
    return "server-wait", f"waiting, not computing: a lock, a pool or a downstream service ({used}{beside})"


def _share(values: Sequence[float], seconds: Sequence[int], part: float) -> float | None:
    """Give the value that `part` of the seconds are not above: a rise counts from a high to a low one."""
    known = sorted(values[second] for second in seconds if second < len(values))
    return known[round(part * (len(known) - 1))] if len(known) >= _FEWEST_S else None


def _most_grown(record: RunRecord, calm: set[int], loaded: set[int]) -> tuple[str | None, float]:
    best: tuple[str | None, float] = (None, 1.0)
    for (application, step), ticks in by_series(record.ticks).items():
        before = latency(tick for tick in ticks if tick.second in calm)
        after = latency(tick for tick in ticks if tick.second in loaded)
        if not before.count or not after.count:
            continue
        was, became = before.percentile(95), after.percentile(95)
        if was and became and became / was > best[1]:
            best = (f"{application}/{step}", became / was)
    return best
