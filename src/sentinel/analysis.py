"""What a run says about its target: figures per phase and series, knee, bottleneck, recovery, status.

Everything is computed from the record alone, so a stored run can be analysed again, and two people get one
answer. A void run shows its figures and concludes nothing from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal, cast

from sentinel.bottleneck import Bottleneck, bottleneck
from sentinel.figures import Figures, between, by_series, figures, length_s, of_run
from sentinel.judgement import lag_of
from sentinel.knee import Knee, LoadStep, find_knee, load_steps
from sentinel.notes import notes
from sentinel.recovery import Recovery
from sentinel.recovery import recovery as find_recovery
from sentinel.run import JsonObject, Phase, RunRecord
from sentinel.served import served_within
from sentinel.void import Lag

Health = Literal["operational", "degraded", "partial outage", "major outage", "unknown"]

STATUS_ABOVE: tuple[tuple[float, Health], ...] = (
    (0.50, "major outage"),
    (0.20, "partial outage"),
    (0.05, "degraded"),
)
INCIDENT_ABOVE = 0.10


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
    bent, statement, disturbed = (
        (None, "knee unknown: the run is void", False) if record.void else find_knee(record, steps)
    )
    judged = not record.void and total.requests > 0
    return Analysis(
        total=total,
        phases=phases,
        series=_series(record),
        steps=steps,
        knee=bent,
        knee_statement=statement,
        bottleneck=bottleneck(record, total, bent, steps, disturbed=disturbed),
        recovery=None if record.void else find_recovery(record),
        health=health_of(total.error_rate) if judged else "unknown",
        incident=judged and total.error_rate > INCIDENT_ABOVE,
        lag=lag_of(record),
        notes=notes(record, steps),
    )


def _series(record: RunRecord) -> dict[tuple[str, str], Figures]:
    """Compute the figures of every series, as the plan has them in order: a history keeps no other."""
    applications = cast("list[JsonObject]", record.scenario.get("applications", []))
    planned = [
        (application["name"], step["name"])
        for application in applications
        for step in cast("list[JsonObject]", application["steps"])
    ]
    place = {name: number for number, name in enumerate(planned)}
    met = by_series(record.ticks)
    ordered = sorted(met, key=lambda name: (place.get(name, len(place)), name))
    return {name: of_run(record, met[name]) for name in ordered}


def _phase_figures(record: RunRecord, phase: Phase) -> Figures:
    end_s = min(phase.end_s, float(record.seconds))
    ticks = between(record, phase.start_s, phase.end_s)
    served = served_within(record, record.ticks, phase.start_s, end_s)
    covered = min(length_s(record), ceil(end_s)) - ceil(
        phase.start_s
    )  # ticks and answers are of whole seconds
    return figures(ticks, max(0.0, covered), served)
