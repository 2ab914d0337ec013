"""From the documents of `parts` back to the values they were written from, so that what was kept is shown by
the code that showed it first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sentinel.audit import ActResult, AuditResult
from sentinel.audit_plan import LeftOut
from sentinel.cost import Cost, Pressed
from sentinel.errors import RecordError
from sentinel.experiment import Experiment
from sentinel.findings import Accusation, Finding
from sentinel.overhead import Difference, Overhead
from sentinel.promise import Promise, promise_of


def audit_of(experiment: Experiment) -> AuditResult:
    """Restore an audit's result; raise RecordError for an experiment that is none or is damaged."""
    try:
        found = _audit(experiment.result, promise_from(experiment.config["promise"]))
        return replace(found, requests=experiment.requests)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"experiment {experiment.id} holds no audit that can be read: {error!r}") from None


def costs_of(experiment: Experiment) -> tuple[tuple[Cost, ...], float]:
    """Restore an overhead experiment's costs and its budget in microseconds; raise RecordError likewise."""
    result: Any = experiment.result
    try:
        costs = tuple(_cost(load) for load in result["loads"])
        return costs, float(result["budget_us"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"experiment {experiment.id} holds no overhead that can be read: {error!r}"
        ) from None


def promise_from(settings: Any) -> Promise:
    """Read what `promise_settings` wrote.

    >>> from sentinel.promise import Bucket
    >>> from sentinel.report.parts import promise_settings
    >>> promise_from(promise_settings(Bucket(5, 1_000_000, burst=2)))
    Bucket(limit=5, period_us=1000000, burst=2)
    """
    return promise_of(
        settings["algorithm"],
        settings["limit"],
        settings["period_us"],
        burst=settings["burst"],
        precision=settings["precision"],
    )


def _audit(document: Any, promise: Promise) -> AuditResult:
    findings = {one["proof"]: _finding(one) for one in document["findings"]}
    return AuditResult(
        promise,
        document["state"],
        findings["over-admission"],
        findings.get("wrong-refusal"),
        findings["retry-after"],
        tuple(ActResult(**act) for act in document["acts"]),
        tuple(LeftOut(**left) for left in document["left_out"]),
        document["control_refused"],
        document["sentence"],
        tuple(document["strength"]),
        tuple((one["status"], one["count"]) for one in document.get("unusable", ())),
        document.get("stopped", False),
        findings.get("lost-penalty"),
    )


def _finding(one: Any) -> Finding:
    accusations = tuple(Accusation(proof=one["proof"], **accusation) for accusation in one["accusations"])
    return Finding(one["proof"], one["examined"], one["proven"], one["blind"], accusations)


def _cost(load: Any) -> Cost:
    found = tuple(_overhead(one) for one in load["overhead"])
    pressed = load.get("pressed")
    return Cost(
        load["rate"], found, load["failed"], load["requests"], None if pressed is None else Pressed(**pressed)
    )


def _overhead(one: Any) -> Overhead:
    return Overhead(
        one["answer"],
        on=one["on"],
        off=one["off"],
        blocks=one["blocks"],
        on_us=one["on_us"],
        off_us=one["off_us"],
        median=Difference(**one["median"]),
        mean=Difference(**one["mean"]),
    )
