"""What limits a target: from what would invalidate the question to what remains.

Processor time is told from waiting by what the load added: the machine's use beyond the knee is compared with
that at low load, so that what other programs use all the time accuses nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from sentinel.figures import Figures, by_series, latency
from sentinel.knee import Knee, LoadStep, too_little
from sentinel.run import RunRecord

BottleneckKind = Literal["none", "unknown", "generator", "shedding", "limiter", "server-cpu", "server-wait"]

SHED_SHARE = 0.01
DENIED_SHARE = 0.5
BUSY_CORE = 0.9
IDLE_CORE = 0.25
_CALM, _LOADED = (
    0.6,
    0.95,
)  # of the knee's load: below the first it was felt nowhere, from the second on it was
_FEWEST_S = 3


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Name what limits the target, the series that suffers most, and the evidence in a sentence."""

    kind: BottleneckKind
    series: str | None
    statement: str


def bottleneck(
    record: RunRecord, total: Figures, bent: Knee | None, steps: tuple[LoadStep, ...]
) -> Bottleneck:
    """Name the bottleneck of a run, or say why it cannot be named."""
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
    if too_little(steps):
        return Bottleneck("unknown", None, "unknown, because it is unknown whether there is a knee")
    return Bottleneck("none", None, f"none found up to {steps[-1].offered:,.0f} requests/s")


def _server(record: RunRecord, bent: Knee) -> Bottleneck:
    calm = [s for s, rate in enumerate(record.planned) if 0 < rate < _CALM * bent.offered]
    loaded = [s for s, rate in enumerate(record.planned) if rate >= _LOADED * bent.offered]
    series, growth = _most_grown(record, set(calm), set(loaded))
    suffers = f"; {series} suffers most, its p95 grew {growth:.1f}-fold" if series else ""
    kind, text = _use(record, calm, loaded)
    return Bottleneck(kind, series, text + suffers)


def _use(record: RunRecord, calm: Sequence[int], loaded: Sequence[int]) -> tuple[BottleneckKind, str]:
    """Tell processor time from waiting by how the use of the machine rose with the load."""
    told = record.host.get("cores", 1)
    cores = told if isinstance(told, int) else 1
    before, beyond = _median(record.others_cpu, calm), _median(record.others_cpu, loaded)
    if before is None or beyond is None or not any(record.others_cpu):
        return (
            "unknown",
            "unknown: the use of the processor at low load and beyond the knee cannot be compared",
        )
    before, beyond = before * cores, beyond * cores
    rose = f"{before:.1f} cores were busy before the knee, {beyond:.1f} beyond it"
    little, much = _median(record.done, calm) or 0.0, _median(record.done, loaded) or 0.0
    # What the load takes is in proportion to the requests served: the rise stands for their difference only.
    taken = (beyond - before) * much / (much - little) if much > little else beyond - before
    if taken >= BUSY_CORE:
        return "server-cpu", f"processor time: {rose}"
    own = _median(record.generator_cpu, loaded) or 0.0
    if cores - beyond - own < IDLE_CORE:
        return "unknown", f"unknown: other programs kept the machine busy as well ({rose}, of {cores})"
    return "server-wait", f"waiting, not computing: a lock, a pool or a downstream service ({rose})"


def _median(values: Sequence[float], seconds: Sequence[int]) -> float | None:
    known = [values[second] for second in seconds if second < len(values)]
    return median(known) if len(known) >= _FEWEST_S else None


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
