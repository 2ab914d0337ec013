"""Parts of a report that also stand alone, as plain values: an audit, an overhead, a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from sentinel.audit import AuditResult
from sentinel.baseline import Comparison
from sentinel.cost import Cost
from sentinel.findings import Finding
from sentinel.overhead import Overhead, State
from sentinel.promise import Promise, Window
from sentinel.run import Json, JsonObject

WITHIN: dict[State, str] = {"within": "yes", "exceeded": "NO", "undecided": "unclear"}


def comparison_document(comparison: Comparison) -> JsonObject:
    """Turn a comparison into JSON-able values."""
    return {
        "state": comparison.state,
        "statement": comparison.statement,
        "against": list(comparison.against),
        "changes": [
            {
                "measure": change.measure,
                "value": change.value,
                "usual": change.usual,
                "change": change.change,
                "p": change.p,
                "before": change.before,
                "state": change.state,
            }
            for change in comparison.changes
        ],
    }


def overhead_document(found: Overhead, budget_us: float | None) -> JsonObject:
    """Turn an overhead into JSON-able values, differences in microseconds."""
    return {
        "answer": found.answer,
        "on": found.on,
        "off": found.off,
        "blocks": found.blocks,
        "on_us": found.on_us,
        "off_us": found.off_us,
        "median": {
            "value_us": found.median.value_us,
            "low_us": found.median.low_us,
            "high_us": found.median.high_us,
        },
        "mean": {"value_us": found.mean.value_us, "low_us": found.mean.low_us, "high_us": found.mean.high_us},
        "budget_us": budget_us,
        "within": None if budget_us is None else found.within(budget_us),
        "state": None if budget_us is None else found.state(budget_us),
    }


def costs_document(costs: Sequence[Cost], budget_us: float) -> JsonObject:
    """Turn an overhead experiment into JSON-able values, one entry per load."""
    loads: list[Json] = [
        {
            "rate": cost.rate,
            "requests": cost.requests,
            "failed": cost.failed,
            "pressed": None if cost.pressed is None else {**cost.pressed._asdict()},
            "overhead": [overhead_document(found, budget_us) for found in cost.found],
        }
        for cost in costs
    ]
    return {"budget_us": budget_us, "loads": loads}


def promise_settings(promise: Promise) -> JsonObject:
    """Turn a promise into JSON-able values, period in microseconds; `restored.promise_from` reads them."""
    return {
        "algorithm": "sliding-window" if isinstance(promise, Window) else "token-bucket",
        "limit": promise.limit,
        "period_us": promise.period_us,
        "burst": None if isinstance(promise, Window) else promise.burst,
        "precision": promise.precision if isinstance(promise, Window) else None,
    }


def audit_document(result: AuditResult) -> JsonObject:
    """Turn an audit into JSON-able values."""
    return {
        "promise": promise_words(result.promise),
        "state": result.state,
        "sentence": result.sentence,
        "excess": result.excess,
        "control_refused": result.control_refused,
        "strength": list(result.strength),
        "findings": [_finding(finding) for finding in result.findings],
        "acts": [
            {
                "name": act.name,
                "finds": act.finds,
                "requests": act.requests,
                "admitted": act.admitted,
                "refused": act.refused,
                "unknown": act.unknown,
                "excess": act.excess,
                "wrong_refusals": act.wrong_refusals,
                "late_ms": act.late_ms,
                "waits_skipped": act.waits_skipped,
            }
            for act in result.acts
        ],
        "left_out": [{"name": left.name, "reason": left.reason} for left in result.left_out],
        "unusable": [{"status": status, "count": count} for status, count in result.unusable],
        "stopped": result.stopped,
    }


def _finding(finding: Finding) -> JsonObject:
    return {
        "proof": finding.proof,
        "examined": finding.examined,
        "proven": finding.proven,
        "blind": finding.blind,
        "accusations": [
            {
                "key": accusation.key,
                "start_ns": accusation.start_ns,
                "end_ns": accusation.end_ns,
                "weight": accusation.weight,
                "statement": accusation.statement,
            }
            for accusation in finding.accusations
        ],
    }


def promise_words(promise: Promise) -> str:
    """Say a promise in words.

    >>> from sentinel.promise import Bucket
    >>> promise_words(Bucket(500, 1_000_000, 50)), promise_words(Window(5, 300_000_000, 60))
    ('500 per 1 s, bursts of 50', 'never more than 5 in any 300 s')
    """
    period = f"{promise.period_us / 1e6:g} s"
    if isinstance(promise, Window):
        return f"never more than {promise.limit} in any {period}"
    return f"{promise.limit} per {period}, bursts of {promise.burst}"
