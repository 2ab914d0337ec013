"""One full report, with every part in it, for the tests of its forms."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from sentinel.audit import AuditResult, evaluate
from sentinel.audit_plan import plan_audit
from sentinel.baseline import compare
from sentinel.checks import check, parse_criteria
from sentinel.cost import Cost
from sentinel.cost import conclude as conclude_costs
from sentinel.experiment import Experiment, Kind
from sentinel.observations import Observation
from sentinel.overhead import Difference, Overhead
from sentinel.promise import Window
from sentinel.report.document import Report
from sentinel.report.parts import audit_document, costs_document, promise_settings
from sentinel.run import JsonObject, RunRecord
from sentinel.verdict import conclude

OVERHEAD = (
    Overhead(
        "allowed",
        8_123,
        8_034,
        16,
        412.2,
        388.1,
        Difference(23.1, 20.2, 26.0),
        Difference(25.4, 18.8, 32.1),
    ),
    Overhead(
        "refused",
        3_123,
        8_034,
        16,
        112.2,
        388.1,
        Difference(-276, -280, -271),
        Difference(5_600.0, 5_200.0, 6_000.0),
    ),
)


def audited(limit: int) -> AuditResult:
    """Audit an exact log of `limit` per second that was promised as 5 per second."""
    plan = plan_audit(Window(5, 1_000_000), budget_s=4.5)
    kept: dict[str, list[int]] = defaultdict(list)
    rows = []
    timeline = sorted((at, each.name, key) for each in plan.acts for at, key in each.sends)
    for at, act, key in timeline:
        admitted = sum(1 for earlier in kept[key] if earlier > at - 10**9) < limit
        if admitted:
            kept[key].append(at)
        rows.append((act, key, Observation(at - 50_000, at + 90_000, admitted, None if admitted else 1.0)))
    return evaluate(plan, rows)


@pytest.fixture(scope="session")
def report(bent_run: RunRecord) -> Report:
    """Give a failed run with a hostile name, an audit, an overhead and a comparison."""
    run = replace(bent_run, scenario={**bent_run.scenario, "name": "evil </script><b>|*name*"})
    criteria = parse_criteria(["p95 < 500 ms", "error_rate < 1%", "throughput > 150/s"])
    earlier = [(f"r{n}", {"p95_ms": 500.0 + n, "throughput": 172.0}) for n in range(8)]
    comparison = compare(run.id, {"p95_ms": 3_000.0, "throughput": 170.0, "p99_ms": None}, earlier)
    verdict = conclude(run, check(run, criteria), comparison)
    return Report.of(run, verdict, audit=audited(5), overhead=OVERHEAD, budget_us=5_000.0)


@pytest.fixture(scope="session")
def plain_report(bent_run: RunRecord) -> Report:
    """Give a report of a run and nothing else."""
    return Report.of(bent_run)


@pytest.fixture(scope="session")
def broken_audit() -> AuditResult:
    """Give an audit that proved an excess."""
    return audited(8)


def experiment(kind: Kind, settings: JsonObject) -> Experiment:
    """Begin an experiment on something with a hostile name."""
    return Experiment.begin(kind, "http://<b>evil", settings)


@pytest.fixture(scope="session")
def audit_experiment(broken_audit: AuditResult) -> Experiment:
    """Give an audit that proved an excess, as it is kept."""
    begun = experiment("audit", {"promise": promise_settings(broken_audit.promise), "seed": 0})
    return begun.concluded(
        audit_document(broken_audit),
        broken_audit.exit_code,
        broken_audit.sentence,
        requests=broken_audit.requests,
    )


@pytest.fixture(scope="session")
def overhead_experiment() -> Experiment:
    """Give an overhead experiment at two loads, over its budget, as it is kept."""
    costs = (Cost(1_000.0, OVERHEAD, 3, 24_280), Cost(2_000.0, OVERHEAD[:1], 0, 16_157))
    begun = experiment("overhead", {"budget_us": 5_000.0, "headers": ["X-Forwarded-For: {address}"]})
    return begun.concluded(costs_document(costs, 5_000.0), *conclude_costs(costs, 5_000.0), requests=40_437)


@pytest.fixture(scope="session")
def stopped_experiment() -> Experiment:
    """Give an audit that was stopped."""
    return experiment("audit", {"seed": 0})
