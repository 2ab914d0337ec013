"""A scenario as a k6 script: k6's own arrival-rate executor keeps the model open, its thresholds judge."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sentinel.criterion import Criterion
from sentinel.exports.plan import asset, commented, common_losses, exported_plan, points
from sentinel.run import Json, JsonObject
from sentinel.scenario import Scenario

_METRICS = {"error_rate": "failed", "denied_rate": "refused", "throughput": "http_reqs"}


def k6_script(scenario: Scenario, target: str) -> str:
    """Write a k6 script; run it with `k6 run FILE`."""
    options: JsonObject = {
        "scenarios": {"sentinel": _load(scenario)},
        "thresholds": _thresholds(scenario),
        "summaryTrendStats": ["count", "avg", "p(50)", "p(95)", "p(99)", "max"],
    }
    return (
        asset("script.js")
        .replace("@NAME@", scenario.name)
        .replace("@LOSSES@", commented(_losses(scenario), "//"))
        .replace("@TARGET@", json.dumps(target))
        .replace("@OPTIONS@", json.dumps(options, indent=2))
        .replace("@PLAN@", json.dumps(exported_plan(scenario), indent=2))
    )


def _load(scenario: Scenario) -> JsonObject:
    """Write the load as stages per minute, because k6 takes whole numbers only."""
    if scenario.model == "closed":
        return {
            "executor": "ramping-vus",
            "startVUs": 0,
            "stages": [*_stages(points(scenario.load), 1.0)],
            "gracefulRampDown": f"{scenario.timeout_s:g}s",
        }
    drawn = points(scenario.arrivals)
    at_once = max(10, round(scenario.arrivals.peak * 2))
    return {
        "executor": "ramping-arrival-rate",
        "timeUnit": "1m",
        "startRate": round(drawn[0][1] * 60),
        "preAllocatedVUs": min(at_once, 1000),
        "maxVUs": max(at_once, scenario.max_in_flight),
        "stages": [*_stages(drawn[1:], 60.0, drawn[0][0])],
        "gracefulStop": f"{scenario.timeout_s:g}s",
    }


def _stages(drawn: list[tuple[float, float]], per: float, begin: float = 0.0) -> Iterator[Json]:
    before = begin
    for at, rate in drawn:
        yield {"duration": f"{round((at - before) * 1000)}ms", "target": round(rate * per)}
        before = at


def _thresholds(scenario: Scenario) -> JsonObject:
    """Translate the criteria that k6 can judge."""
    kept: dict[str, list[Json]] = {}
    for check in scenario.checks:
        if check.metric != "excess":
            name, rule = _threshold(check)
            kept.setdefault(name, []).append(rule)
    for name in scenario.reachable():
        for step in scenario.application(name).steps:
            if step.expect.p95_ms is not None:
                kept.setdefault(_tagged("answered", name, step.name), []).append(
                    f"p(95)<{step.expect.p95_ms:g}"
                )
    return {name: list(rules) for name, rules in kept.items()}


def _threshold(check: Criterion) -> tuple[str, str]:
    op = "==" if check.op == "=" else check.op
    if check.metric == "latency":
        figure = {"mean": "avg", "max": "max"}.get(check.figure, f"p({check.figure[1:]})")
        return _tagged("answered", check.application, check.step), f"{figure}{op}{check.value:g}"
    return _tagged(_METRICS[check.metric], check.application, check.step), f"rate{op}{check.value:g}"


def _tagged(metric: str, application: str | None, step: str | None) -> str:
    tags = [f"{tag}:{value}" for tag, value in (("application", application), ("step", step)) if value]
    return f"{metric}{{{','.join(tags)}}}" if tags else metric


def _losses(scenario: Scenario) -> list[str]:
    lost = [
        "users: a virtual user's token stays with one of k6's VUs, so users log in once per VU",
        "response times count from sending, not from the intended instant",
        "clean-up: what the run created is removed at the end of each session, not after the run",
        "a percentile of few samples is judged all the same",
    ]
    return [*lost, *common_losses(scenario)]
