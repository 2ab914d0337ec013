"""What a record has to hold, read from its own plan, and the verdict on it.

A stored run can so be judged again without the scenario file it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from sentinel.baseline import Comparison
from sentinel.checks import CheckResult, check
from sentinel.criterion import Criterion
from sentinel.run import Json, JsonObject, RunRecord
from sentinel.verdict import Verdict, conclude


def judge_run(
    record: RunRecord, *, excess: int | None = None, comparison: Comparison | None = None
) -> Verdict:
    """Conclude a run from the criteria of its own plan.

    The bounds that steps set on themselves are judged where a percentile can be known; the scenario's
    criteria always. A segment of a run is not judged by its throughput, which only the whole has.
    """
    segment = record.counters.get("segments", 1) > 1
    asked = [c for c in criteria(record) if not (segment and c.metric in ("throughput", "excess"))]
    results = check(record, asked, excess=excess)
    bounds: list[CheckResult] = [r for r in check(record, step_bounds(record)) if r.observed is not None]
    return conclude(record, (*results, *bounds), comparison)


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
