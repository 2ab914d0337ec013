"""What a record has to hold, read from its own plan, and the verdict on it.

A stored run can so be judged again without the scenario file it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from sentinel.baseline import Comparison
from sentinel.checks import check
from sentinel.criterion import Criterion
from sentinel.evidence import ExcessFound
from sentinel.run import Json, JsonObject, RunRecord
from sentinel.verdict import Verdict, conclude
from sentinel.void import Lag, lag_limit_ns


def judge_run(
    record: RunRecord, *, excess: ExcessFound | None = None, comparison: Comparison | None = None
) -> Verdict:
    """Conclude a run from the criteria of its own plan.

    The scenario's criteria must all be judged; of the bounds that steps set on themselves, those with too few
    samples are left open, and shown so. A segment of a run is not judged by its throughput, which only the
    whole has.
    """
    segment = record.counters.get("segments", 1) > 1
    asked = [c for c in criteria(record) if not (segment and c.metric in ("throughput", "excess"))]
    results = check(record, asked, excess=excess)
    return conclude(record, results, comparison, bounds=check(record, step_bounds(record)))


def criteria(record: RunRecord) -> tuple[Criterion, ...]:
    """Read the scenario's pass criteria out of a record's plan."""
    return tuple(Criterion.parse(text) for text in cast("list[str]", record.scenario.get("checks", [])))


def step_bounds(record: RunRecord) -> tuple[Criterion, ...]:
    """Read the bounds that steps set on their 95th percentile out of a record's plan."""
    return tuple(_bounds(cast("list[Json]", record.scenario.get("applications", []))))


def _bounds(applications: list[Json]) -> Iterator[Criterion]:
    for application in cast("list[JsonObject]", applications):
        for step in cast("list[JsonObject]", application["steps"]):
            p95_ms = cast("float | None", cast(JsonObject, step["expect"])["p95_ms"])
            if p95_ms is not None:
                yield Criterion("p95", "<", float(p95_ms), str(application["name"]), str(step["name"]))


def lag_of(record: RunRecord) -> Lag | None:
    """Tell how punctual a run was, held against what its own plan allows; None when nothing was sent."""
    bounds = [c.value for c in criteria(record) if c.metric == "latency" and c.op in ("<", "<=")]
    bounds += [bound.value for bound in step_bounds(record)]
    return Lag.of(record.lag, lag_limit_ns(min(bounds, default=None)))
