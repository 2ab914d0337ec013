"""What a run says about its target: figures per phase and series, knee, bottleneck, recovery, status.

Everything is computed from the record alone, so a stored run can be analysed again, and two people get one
answer. A void run shows its figures and concludes nothing from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from sentinel.bottleneck import Bottleneck, bottleneck
from sentinel.figures import Figures, between, by_second, by_series, figures, latency, length_s, ms, of_run
from sentinel.judgement import lag_of
from sentinel.knee import RISE, Knee, LoadStep, knee, load_steps, no_knee
from sentinel.notes import notes
from sentinel.run import Phase, RunRecord
from sentinel.served import served_within
from sentinel.void import Lag

Health = Literal["operational", "degraded", "partial outage", "major outage", "unknown"]

STATUS_ABOVE: tuple[tuple[float, Health], ...] = (
    (0.50, "major outage"),
    (0.20, "partial outage"),
    (0.05, "degraded"),
)
INCIDENT_ABOVE = 0.10
_WINDOW_S = 3
_FELT_NS = 1_000_000  # a rise of the p95 by less is the machine's mood as often as the target's


@dataclass(frozen=True, slots=True)
class Recovery:
    """State how long after the peak latency was back to what it was before; `seconds` is None if it never
    was."""

    seconds: float | None
    reference_ms: float
    statement: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """Hold everything a report shows about a run.

    `knee_statement` says where the knee is, or over which loads there is none, or why nobody can tell.
    """

    total: Figures
    phases: tuple[tuple[Phase, Figures], ...]
    series: Mapping[tuple[str, str], Figures]
    steps: tuple[LoadStep, ...]
    knee: Knee | None
    knee_statement: str
    bottleneck: Bottleneck
    recovery: Recovery | None
    health: Health
    incident: bool
    lag: Lag | None
    notes: tuple[str, ...]


def health_of(error_rate: float) -> Health:
    """Derive a status from an error rate (0 .. 1).

    >>> [health_of(rate) for rate in (0.05, 0.051, 0.2, 0.21, 0.51)]
    ['operational', 'degraded', 'degraded', 'partial outage', 'major outage']
    """
    return next((name for above, name in STATUS_ABOVE if error_rate > above), "operational")


def analyse(record: RunRecord) -> Analysis:
    """Analyse a run, complete or partial."""
    total = of_run(record, record.ticks)
    end_s = length_s(record)
    phases = tuple((phase, _phase_figures(record, phase)) for phase in record.phases if phase.start_s < end_s)
    steps = load_steps(record)
    bent = None if record.void else knee(steps)
    judged = not record.void and total.requests > 0
    return Analysis(
        total=total,
        phases=phases,
        series={name: of_run(record, ticks) for name, ticks in by_series(record.ticks).items()},
        steps=steps,
        knee=bent,
        knee_statement=_knee_statement(record, bent, steps),
        bottleneck=bottleneck(record, total, bent, steps),
        recovery=None if record.void else _recovery(record),
        health=health_of(total.error_rate) if judged else "unknown",
        incident=judged and total.error_rate > INCIDENT_ABOVE,
        lag=lag_of(record),
        notes=notes(record, steps),
    )


def _knee_statement(record: RunRecord, bent: Knee | None, steps: tuple[LoadStep, ...]) -> str:
    if record.void:
        return "knee unknown: the run is void"
    return no_knee(steps) if bent is None else bent.statement


def _phase_figures(record: RunRecord, phase: Phase) -> Figures:
    end_s = min(phase.end_s, float(record.seconds))
    ticks = between(record, phase.start_s, phase.end_s)
    served = served_within(record, record.ticks, phase.start_s, end_s)
    covered = min(length_s(record), ceil(end_s)) - ceil(
        phase.start_s
    )  # ticks and answers are of whole seconds
    return figures(ticks, max(0.0, covered), served)


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
    bound = max(RISE * before, before + _FELT_NS)
    back: int | None = None
    for start in range(after[-1] - _WINDOW_S + 1, over - 1, -1):
        window = latency(t for group in ticks[start : start + _WINDOW_S] for t in group)
        if window.count and window.value_at(max(1, round(0.95 * window.count))) > bound:
            break
        back = start
    if back is None:
        words = f"not recovered within {after[-1] + 1 - over} s after the peak"
        return Recovery(None, before / 1e6, f"{words}: p95 still above {ms(bound / 1e6)} ms")
    return Recovery(
        float(back - over),
        before / 1e6,
        f"recovered {back - over} s after the peak (p95 {ms(before / 1e6)} ms before it)",
    )
