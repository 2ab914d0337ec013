"""That every placeholder of a scenario is filled by the time its request is sent: checked beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sentinel.application import Application
from sentinel.errors import ConfigurationError
from sentinel.template import placeholders


def check_filling(applications: Sequence[Application], given: frozenset[str]) -> None:
    """Raise ConfigurationError for a placeholder that nothing will ever fill, or nothing yet.

    given: what is there from the start. Requirements must be known and free of circles.
    """
    known = {application.name: application for application in applications}
    for application in applications:
        before = {
            extract.name
            for name in _required(known, application)
            for step in known[name].steps
            for extract in step.extract
        }
        _check_order(application, given | before)


def _required(known: Mapping[str, Application], application: Application) -> Iterator[str]:
    for name in application.requires:
        yield name
        yield from _required(known, known[name])


def _check_order(application: Application, given: frozenset[str]) -> None:
    """Let a step use what earlier steps extract, and a repeated one what it extracts itself.

    Neighbouring parallel steps go out together: none of them has what another extracts.
    """
    extracted = {extract.name: step.name for step in application.steps for extract in step.extract}
    together: frozenset[str] = frozenset()
    for step in application.steps:
        if step.mode != "parallel":
            given, together = given | together, frozenset()
        where, own = f"{application.name}/{step.name}", frozenset(extract.name for extract in step.extract)
        for template in step.requested():
            check_placeholders(where, template, given | own if step.repeat.times > 1 else given, extracted)
        if step.undo is not None:
            check_placeholders(where, step.undo.path, given | own, extracted)
        if step.mode == "parallel":
            together |= own
        else:
            given |= own


def check_placeholders(
    where: str, template: str, given: frozenset[str], extracted: Mapping[str, str] | None = None
) -> None:
    """Raise ConfigurationError for a placeholder that is not given; `extracted` names the steps that come
    later."""
    for name in placeholders(template):
        if name in given:
            continue
        why = "which nothing gives"
        if extracted and name in extracted:
            why = f"which {extracted[name]!r} takes out of an answer only then or later"
        raise ConfigurationError(f"{where} uses {{{name}}}, {why}; known: {', '.join(sorted(given))}")
