"""The report of a run, or of an audit or overhead experiment, in every form that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from sentinel.commands.options import write
from sentinel.experiment import Experiment
from sentinel.report.cases import run_cases
from sentinel.report.document import Report, document, to_json
from sentinel.report.experiment_forms import experiment_json, experiment_junit, experiment_markdown
from sentinel.report.experiment_page import experiment_page
from sentinel.report.junit_xml import junit
from sentinel.report.markdown import markdown
from sentinel.report.page import page

Subject = TypeVar("Subject")


def as_json(report: Report) -> str:
    """Write it as JSON."""
    return to_json(document(report))


def as_junit(report: Report) -> str:
    """Write it as JUnit XML."""
    record = report.record
    return junit(
        run_cases(report),
        suite=str(record.scenario.get("name", record.id)),
        timestamp=record.started_at,
        seconds=float(record.seconds),
    )


FORMS = {"json": as_json, "html": page, "junit": as_junit, "md": markdown}
EXPERIMENT_FORMS = {
    "json": experiment_json,
    "html": experiment_page,
    "junit": experiment_junit,
    "md": experiment_markdown,
}


def report_files(report: Report, paths: dict[str, Path | None]) -> list[Callable[[], None]]:
    """Give what writes each of the files that were asked for; each raises NotWritten if it cannot."""
    return [partial(_write, path, FORMS[kind], report) for kind, path in paths.items() if path is not None]


def experiment_files(experiment: Experiment, paths: dict[str, Path | None]) -> list[Callable[[], None]]:
    """Give what writes each of the files that were asked for about an audit or an overhead experiment."""
    return [
        partial(_write, path, EXPERIMENT_FORMS[kind], experiment)
        for kind, path in paths.items()
        if path is not None
    ]


def _write(path: Path, form: Callable[[Subject], str], subject: Subject) -> None:
    write(path, form(subject))
