"""An audit or an overhead experiment in every written form but HTML: JSON, JUnit, markdown.

Written from what is kept, at once or years later: the text is the same.
"""

from __future__ import annotations

from sentinel.cost import missing, missing_words, worst
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.report.cases import Case, audit_cases, overhead_cases
from sentinel.report.document import to_json
from sentinel.report.junit_xml import junit
from sentinel.report.markdown import audit_markdown, escaped, overhead_markdown
from sentinel.report.restored import audit_of, costs_of
from sentinel.run import JsonObject

SCHEMAS = {"audit": "sentinel-audit/1", "overhead": "sentinel-overhead/1"}


def experiment_document(experiment: Experiment) -> JsonObject:
    """Turn an experiment into JSON-able values: what was done, the verdict, then the result's own fields.

    One that was killed has no verdict and no result.
    """
    code = experiment.exit_code
    verdict: JsonObject | None = None
    if code is not None:
        verdict = {"exit_code": int(code), "name": code.name, "sentence": experiment.sentence}
    return {
        "schema": SCHEMAS[experiment.kind],
        "experiment": {
            "id": experiment.id,
            "kind": experiment.kind,
            "target": experiment.target,
            "started_at": experiment.started_at,
            "seconds": experiment.seconds,
            "requests": experiment.requests,
            "status": experiment.status,
            "config": experiment.config,
            "config_hash": experiment.config_hash,
            "host": {**experiment.host},
        },
        "verdict": verdict,
        **experiment.result,
    }


def experiment_json(experiment: Experiment) -> str:
    """Write it as JSON."""
    return to_json(experiment_document(experiment))


def experiment_cases(experiment: Experiment) -> tuple[Case, ...]:
    """List what it had to pass; one that was stopped, or is void, passes nothing."""
    kind = experiment.kind
    if not experiment.result:
        return (Case(kind, "came to something", "failed", experiment.sentence),)
    if experiment.status == "partial":
        return (Case(kind, "ran to its end", "failed", experiment.sentence), *_result_cases(experiment))
    return _result_cases(experiment)


def _result_cases(experiment: Experiment) -> tuple[Case, ...]:
    kind = experiment.kind
    if kind == "audit":
        return audit_cases(audit_of(experiment))
    costs, budget_us = costs_of(experiment)
    cases = overhead_cases(worst(costs, budget_us), budget_us)
    unknown = [
        Case(
            kind,
            f"{answer} requests are measured at every load",
            "skipped",
            missing_words(answer, loads),
        )
        for answer, loads in missing(costs).items()
    ]
    if experiment.exit_code is ExitCode.VOID and experiment.status == "complete":
        return (Case(kind, "is valid", "failed", experiment.sentence), *cases, *unknown)
    return (*cases, *unknown)


def experiment_junit(experiment: Experiment) -> str:
    """Write it as JUnit XML."""
    return junit(
        experiment_cases(experiment),
        suite=experiment.kind,
        timestamp=experiment.started_at,
        seconds=experiment.seconds,
    )


def experiment_markdown(experiment: Experiment) -> str:
    """Write it as markdown for a pull request: the verdict first."""
    host = ", ".join(f"{key} {value}" for key, value in experiment.host.items())
    facts = (
        f"{experiment.id}, {experiment.target}, {experiment.started_at}, {experiment.requests:,} requests in "
        f"{experiment.seconds:.0f} s; {host}"
    )
    foot = f"<sub>{escaped(facts)}</sub>"
    if not experiment.result:
        parts = [f"#### ⚠️ {experiment.kind}: {escaped(experiment.target)}", escaped(experiment.sentence)]
    elif experiment.kind == "audit":
        parts = [audit_markdown(audit_of(experiment))]
    else:
        costs, budget_us = costs_of(experiment)
        parts = [
            f"**{escaped(experiment.sentence)}**",
            *(overhead_markdown(cost.found, budget_us, rate=cost.rate) for cost in costs),
        ]
    return "\n\n".join([*parts, foot]) + "\n"
