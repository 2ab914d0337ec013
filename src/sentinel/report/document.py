"""The report as plain values: what every other form is written from, and what `--format json` prints.

The layout is versioned and described in docs/reference/report-schema.json. Times are milliseconds or
seconds as the names say, rates are per second, shares are 0 to 1. A figure that cannot be known is null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sentinel.analysis import Analysis, analyse
from sentinel.audit import AuditResult
from sentinel.figures import Figures, by_second, latency
from sentinel.histogram import SAMPLES_ABOVE, Histogram
from sentinel.knee import LoadStep
from sentinel.overhead import Overhead
from sentinel.report.parts import audit_document, comparison_document, overhead_document
from sentinel.run import OUTCOMES, Json, JsonObject, RunRecord
from sentinel.verdict import Verdict, conclude

SCHEMA = "sentinel-report/1"
_LOOK_BACK_S = 10
_HEAT_COLUMNS = 120
_HEAT_PER_DECADE = 8


@dataclass(frozen=True, slots=True)
class Report:
    """Bundle a run with what was concluded from it; `analysis` and `verdict` are worked out if they are not
    given."""

    record: RunRecord
    analysis: Analysis
    verdict: Verdict
    audit: AuditResult | None = None
    overhead: tuple[Overhead, ...] = ()
    budget_us: float | None = None

    @classmethod
    def of(
        cls,
        record: RunRecord,
        verdict: Verdict | None = None,
        *,
        audit: AuditResult | None = None,
        overhead: Sequence[Overhead] = (),
        budget_us: float | None = None,
    ) -> Report:
        """Analyse a run and bundle it with its verdict (without one: a run with no criteria)."""
        return cls(record, analyse(record), verdict or conclude(record), audit, tuple(overhead), budget_us)


def document(report: Report) -> JsonObject:
    """Turn a report into JSON-able values."""
    record, analysis, verdict = report.record, report.analysis, report.verdict
    knee, recovery = analysis.knee, analysis.recovery
    return {
        "schema": SCHEMA,
        "run": {
            "id": record.id,
            "name": str(record.scenario.get("name", "")),
            "started_at": record.started_at,
            "seconds": record.seconds,
            "model": record.model,
            "status": record.status,
            "void_reasons": list(record.void_reasons),
            "plan_hash": record.plan_hash,
            "host": dict(record.host),
            "counters": dict(record.counters),
        },
        "verdict": {
            "exit_code": int(verdict.exit_code),
            "name": verdict.exit_code.name,
            "sentence": verdict.sentence,
        },
        "checks": [
            {
                "criterion": str(result.criterion),
                "passed": result.passed,
                "observed": result.observed,
                "samples": result.samples,
                "detail": result.detail,
            }
            for result in verdict.checks
        ],
        "total": _figures(analysis.total),
        "phases": [
            {"name": phase.name, "start_s": phase.start_s, "end_s": phase.end_s, **_figures(found)}
            for phase, found in analysis.phases
        ],
        "series": [
            {"application": application, "step": step, **_figures(found)}
            for (application, step), found in analysis.series.items()
        ],
        "steps": [_step(step) for step in analysis.steps],
        "knee": None
        if knee is None
        else {
            "offered": knee.offered,
            "users": knee.users,
            "p95_ms": knee.p95_ms,
            "floor_ms": knee.floor_ms,
            "confirmed": knee.confirmed,
            "statement": knee.statement,
        },
        "bottleneck": {
            "kind": analysis.bottleneck.kind,
            "series": analysis.bottleneck.series,
            "statement": analysis.bottleneck.statement,
        },
        "recovery": None
        if recovery is None
        else {
            "seconds": recovery.seconds,
            "reference_ms": recovery.reference_ms,
            "statement": recovery.statement,
        },
        "health": analysis.health,
        "incident": analysis.incident,
        "notes": list(analysis.notes),
        "timeline": _timeline(record),
        "heat_map": _heat_map(record),
        "errors": [
            {
                "second": error.second,
                "application": error.application,
                "step": error.step,
                "status": error.status,
                "message": error.message,
                "count": error.count,
            }
            for error in record.errors
        ],
        "comparison": None if verdict.comparison is None else comparison_document(verdict.comparison),
        "audit": None if report.audit is None else audit_document(report.audit),
        "overhead": [overhead_document(found, report.budget_us) for found in report.overhead],
    }


def to_json(values: Mapping[str, Json]) -> str:
    """Write a document as JSON text, indented; NaN and infinities become null."""
    return json.dumps(_finite(dict(values)), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: Json) -> Json:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value


def _figures(found: Figures) -> JsonObject:
    return {
        "requests": found.requests,
        "counts": {outcome: found.counts[outcome] for outcome in OUTCOMES},
        "error_rate": found.error_rate,
        "denied_rate": found.denied_rate,
        "throughput": found.throughput,
        "mean_ms": found.mean_ms,
        "max_ms": found.max_ms,
        "percentiles": [
            {"p": entry.p, "ms": entry.ms, "samples": entry.samples} for entry in found.percentiles
        ],
    }


def _step(step: LoadStep) -> JsonObject:
    return {
        "offered": step.offered,
        "achieved": step.achieved,
        "users": step.users,
        "seconds": step.seconds,
        "samples": step.samples,
        "p95_ms": step.p95_ms,
        "low_ms": step.low_ms,
        "high_ms": step.high_ms,
        "little": step.little,
    }


def _timeline(record: RunRecord) -> JsonObject:
    """List per second what was planned, sent and answered, and latencies.

    A second seldom has enough samples for a p99: each percentile looks back over as few seconds as give it
    ten samples above, at most ten.
    """
    counts: dict[str, list[Json]] = {outcome: [] for outcome in OUTCOMES}
    percentiles: dict[str, list[Json]] = {"p50_ms": [], "p95_ms": [], "p99_ms": [], "max_ms": []}
    times: list[Histogram] = []
    for ticks in by_second(record):
        for outcome in OUTCOMES:
            counts[outcome].append(sum(tick.count for tick in ticks if tick.outcome == outcome))
        times.append(latency(ticks))
        for p in (50, 95, 99):
            percentiles[f"p{p}_ms"].append(_trailing(times, p))
        percentiles["max_ms"].append(round(times[-1].max / 1e6, 4) if times[-1].count else None)
    lag = [_trailing(list(record.lag[: second + 1][-_LOOK_BACK_S:]), 99) for second in range(len(record.lag))]
    return {
        "planned": list(record.planned),
        "sent": list(record.sent),
        "done": list(record.done),
        "users": list(record.users),
        "in_flight": list(record.in_flight),
        "generator_cpu": list(record.generator_cpu),
        "others_cpu": list(record.others_cpu),
        "lag_p99_ms": [*lag],
        **counts,
        **percentiles,
    }


def _trailing(times: list[Histogram], p: float) -> float | None:
    if not times[-1].count:
        return None
    for width in range(1, min(_LOOK_BACK_S, len(times)) + 1):
        if sum(part.count for part in times[-width:]) * (1 - p / 100) < SAMPLES_ABOVE:
            continue
        value = Histogram.merged(times[-width:]).percentile(p)
        if value is not None:
            return round(value / 1e6, 4)
    return None


def _heat_map(record: RunRecord) -> JsonObject | None:
    """Count requests by time and response time: at most 120 columns, eight rows to a factor of ten."""
    seconds = by_second(record)
    width = max(1, -(-len(seconds) // _HEAT_COLUMNS))
    columns = [
        latency(tick for second in seconds[start : start + width] for tick in second)
        for start in range(0, len(seconds), width)
    ]
    whole = Histogram.merged(columns)
    if not whole.count:
        return None
    first = int(np.floor(np.log10(max(whole.min, 1)) * _HEAT_PER_DECADE))
    last = int(np.floor(np.log10(max(whole.max, 1)) * _HEAT_PER_DECADE)) + 1
    edges = 10 ** (np.arange(first, last + 1) / _HEAT_PER_DECADE)
    cells: list[Json] = []
    for column in columns:
        low, high, counts = column.buckets()
        row = np.clip(np.searchsorted(edges, (low + high) / 2, "right") - 1, 0, last - first - 1)
        cells.append(np.bincount(row, weights=counts, minlength=last - first).astype(int).tolist())
    return {"column_s": width, "edges_ms": [round(float(edge) / 1e6, 6) for edge in edges], "columns": cells}
