"""What a run comes to in sentences, the same in every form; and texts of strangers made harmless."""

from __future__ import annotations

from sentinel.report.document import Report
from sentinel.run import ErrorSample

SHOWN_ERRORS = 5


def said(report: Report) -> list[str]:
    """Say what follows from a run, a sentence or two per line."""
    record, analysis = report.record, report.analysis
    status = f"status: {analysis.health}, by an error rate of {analysis.total.error_rate:.2%}"
    if analysis.health == "unknown":
        status = (
            f"status: unknown, {'the run is void' if record.void else 'not a single request was answered'}"
        )
    return [
        analysis.knee_statement,
        f"bottleneck: {analysis.bottleneck.statement}",
        *([analysis.recovery.statement] if analysis.recovery else []),
        status,
        *(["an incident: more than 10 % of the requests failed"] if analysis.incident else []),
        *([str(analysis.lag)] if analysis.lag else []),
        *analysis.notes,
    ]


def errors_said(errors: tuple[ErrorSample, ...]) -> list[str]:
    """Say the most frequent errors, one line each, and how many kinds are left.

    >>> errors_said((ErrorSample(0, "blog", "list", 404, "status 404, expected 2xx", 3),))
    ['3 × blog/list: status 404, expected 2xx']
    """
    lines = []
    for error in errors[:SHOWN_ERRORS]:
        told = error.message.startswith(f"status {error.status}")
        status = "" if told else f"{error.status or 'no answer'} "
        lines.append(f"{error.count:,} × {error.application}/{error.step}: {status}{error.message}")
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"and {len(errors) - SHOWN_ERRORS} more kinds of errors")
    return lines
