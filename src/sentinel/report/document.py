"""The report as plain values: what every other form is written from, and what `--format json` prints.

The layout is versioned and described in docs/reference/report-schema.json. Times are milliseconds or
seconds as the names say, rates are per second, shares are 0 to 1. A figure that cannot be known is null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.analysis import Analysis, analyse
from sentinel.audit import AuditResult
from sentinel.figures import Figures
from sentinel.knee import LoadStep
from sentinel.overhead import Overhead
from sentinel.report.parts import audit_document, comparison_document, overhead_document
from sentinel.report.printable import printable
from sentinel.report.timeline import heat_map, timeline
from sentinel.run import OUTCOMES, ErrorSample, Json, JsonObject, RunRecord
from sentinel.verdict import Verdict, conclude
from sentinel.void import Lag

SCHEMA = "sentinel-report/1"


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
        record = replace(
            record,
            errors=tuple(map(_readable, record.errors)),
            left_behind=tuple(map(printable, record.left_behind)),
        )
        return cls(record, analyse(record), verdict or conclude(record), audit, tuple(overhead), budget_us)


def _readable(error: ErrorSample) -> ErrorSample:
    return replace(error, message=printable(error.message))


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
            "length_s": analysis.total.seconds,
            "model": record.model,
            "status": record.status,
            "void_reasons": list(record.void_reasons),
            "plan_hash": record.plan_hash,
            "host": dict(record.host),
            "counters": dict(record.counters),
            "left_behind": list(record.left_behind),
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
                "state": result.state,
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
        "knee_statement": analysis.knee_statement,
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
        "lag": None if analysis.lag is None else _lag(analysis.lag),
        "notes": list(analysis.notes),
        "timeline": timeline(record),
        "heat_map": heat_map(record),
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


def _lag(lag: Lag) -> JsonObject:
    return {
        "samples": lag.count,
        "median_ms": lag.median / 1e6,
        "apart": lag.apart,
        "decisive_ms": lag.decisive / 1e6,
        "max_ms": lag.latest / 1e6,
        "limit_ms": lag.limit / 1e6,
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
