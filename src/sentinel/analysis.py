"""What a run says about its target: figures per phase and series, knee, bottleneck, recovery, status.

Everything is computed from the record alone, so a stored run can be analysed again, and two people get one
answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from operator import itemgetter
from typing import Literal

from sentinel.figures import Figures, between, by_second, by_series, figures, latency
from sentinel.knee import RISE, Knee, LoadStep, knee, load_steps
from sentinel.run import Phase, RunRecord

Health = Literal["operational", "degraded", "partial outage", "major outage"]
BottleneckKind = Literal["none", "generator", "shedding", "limiter", "server-cpu", "server-wait"]

STATUS_ABOVE: tuple[tuple[float, Health], ...] = (
    (0.50, "major outage"),
    (0.20, "partial outage"),
    (0.05, "degraded"),
)
INCIDENT_ABOVE = 0.10
LITTLE_WITHIN = 0.25
_BUSY_CORE = 0.9
_WINDOW_S = 3


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Name what limits the target, the series that suffers most, and the evidence in a sentence."""

    kind: BottleneckKind
    series: str | None
    statement: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """State how long after the peak latency was back to what it was before; `seconds` is None if it never
    was."""

    seconds: float | None
    reference_ms: float
    statement: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Hold everything a report shows about a run."""

    total: Figures
    phases: tuple[tuple[Phase, Figures], ...]
    series: Mapping[tuple[str, str], Figures]
    steps: tuple[LoadStep, ...]
    knee: Knee | None
    bottleneck: Bottleneck
    recovery: Recovery | None
    health: Health
    incident: bool
    notes: tuple[str, ...]


def health_of(error_rate: float) -> Health:
    """Derive a status from an error rate (0 .. 1).

    >>> [health_of(rate) for rate in (0.05, 0.051, 0.2, 0.21, 0.51)]
    ['operational', 'degraded', 'degraded', 'partial outage', 'major outage']
    """
    return next((name for above, name in STATUS_ABOVE if error_rate > above), "operational")


def analyse(record: RunRecord) -> Analysis:
    """Analyse a run, complete or partial."""
    total = figures(record.ticks, float(record.seconds))
    phases = tuple(
        (phase, _phase_figures(record, phase)) for phase in record.phases if phase.start_s < record.seconds
    )
    steps = load_steps(record)
    bent = knee(steps)
    return Analysis(
        total=total,
        phases=phases,
        series={
            name: figures(ticks, float(record.seconds)) for name, ticks in by_series(record.ticks).items()
        },
        steps=steps,
        knee=bent,
        bottleneck=_bottleneck(record, total, bent),
        recovery=_recovery(record),
        health=health_of(total.error_rate),
        incident=total.error_rate > INCIDENT_ABOVE,
        notes=_notes(record, steps),
    )


def _phase_figures(record: RunRecord, phase: Phase) -> Figures:
    end_s = min(phase.end_s, float(record.seconds))
    covered = record.done[ceil(phase.start_s) : ceil(end_s)]
    ticks = between(record, phase.start_s, phase.end_s)
    return figures(ticks, max(0.0, end_s - phase.start_s), sum(covered) if any(record.done) else None)


def _notes(record: RunRecord, steps: tuple[LoadStep, ...]) -> tuple[str, ...]:
    notes = []
    if record.model == "closed":
        notes.append("closed model: users wait for answers, so stalls are under-reported")
    if record.status == "partial":
        notes.append(f"partial: the run was stopped after {record.seconds} s")
    off = [step for step in steps if step.little is not None and abs(step.little - 1) > LITTLE_WITHIN]
    if off:
        share, worst = max(
            ((abs(step.little - 1), step) for step in off if step.little is not None), key=itemgetter(0)
        )
        notes.append(
            f"Little's law is off by {share:.0%} at {worst.offered:.0f} requests/s: "
            "the load was not steady there, read its latencies with care"
        )
    return tuple(notes)


def _bottleneck(record: RunRecord, total: Figures, bent: Knee | None) -> Bottleneck:
    """Go from what would invalidate the question to what remains."""
    if record.void:
        return Bottleneck("generator", None, "unknown: the generator could not keep its schedule")
    if total.counts["shed"] > 0.01 * total.requests:
        share = total.counts["shed"] / total.requests
        return Bottleneck(
            "shedding", None, f"the target sheds load: {share:.1%} of the requests were answered with 503"
        )
    if bent is None:
        if total.denied_rate > 0.5:
            return Bottleneck(
                "limiter",
                None,
                f"the limits: {total.denied_rate:.0%} of the requests were refused, as called for",
            )
        return Bottleneck("none", None, "none found: latency held at every load offered")
    series, growth = _most_grown(record, bent)
    suffers = f"; {series} suffers most, its p95 grew {growth:.1f}-fold" if series else ""
    cores = record.host.get("cores", 1)
    loaded = [s for s in range(record.seconds) if record.planned[s] >= 0.95 * bent.offered]
    shares = sorted(record.others_cpu[s] for s in loaded if s < len(record.others_cpu))
    busy = shares[len(shares) // 2] * (cores if isinstance(cores, int) else 1) if shares else None
    if busy is not None and busy >= _BUSY_CORE:
        return Bottleneck(
            "server-cpu", series, f"processor time: {busy:.1f} cores were busy beyond the knee{suffers}"
        )
    used = "" if busy is None else f" ({busy:.1f} cores busy beyond the knee)"
    return Bottleneck(
        "server-wait",
        series,
        f"waiting, not computing{used}: a lock, a pool or a downstream service{suffers}",
    )


def _most_grown(record: RunRecord, bent: Knee) -> tuple[str | None, float]:
    calm = {s for s in range(record.seconds) if 0 < record.planned[s] < 0.6 * bent.offered}
    loaded = {s for s in range(record.seconds) if record.planned[s] >= 0.95 * bent.offered}
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


def _recovery(record: RunRecord) -> Recovery | None:
    """Compare the seconds after the peak with those before it that carried no more load than the end."""
    planned = record.planned
    if len(planned) < 4 * _WINDOW_S or max(planned) <= 0:
        return None
    peak = [s for s, rate in enumerate(planned) if rate >= 0.9 * max(planned)]
    begun, over = peak[0], peak[-1] + 1
    after = [s for s in range(over, len(planned)) if planned[s] > 0]
    if len(after) < _WINDOW_S or begun < _WINDOW_S:
        return None
    settled = sorted(planned[s] for s in after)[len(after) // 2]
    calm = [s for s in range(begun) if 0 < planned[s] <= max(1.1 * settled, 0.5 * max(planned))]
    ticks = by_second(record)
    before = latency(t for s in calm for t in ticks[s]).percentile(95) if calm else None
    if before is None:
        return None
    back: int | None = None
    for start in range(after[-1] - _WINDOW_S + 1, over - 1, -1):
        window = latency(t for group in ticks[start : start + _WINDOW_S] for t in group)
        if window.count and window.value_at(max(1, round(0.95 * window.count))) > RISE * before:
            break
        back = start
    if back is None:
        words = f"not recovered within {after[-1] + 1 - over} s after the peak"
        return Recovery(None, before / 1e6, f"{words}: p95 still above {RISE * before / 1e6:.1f} ms")
    return Recovery(
        float(back - over),
        before / 1e6,
        f"recovered {back - over} s after the peak (p95 {before / 1e6:.1f} ms before it)",
    )
