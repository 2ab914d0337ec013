"""JUnit, Markdown and the terminal say the same as the verdict, whatever a server answered."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from sentinel.audit import AuditResult
from sentinel.cost import Cost, conclude
from sentinel.errors import RecordError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.report.cases import Case, audit_cases, run_cases
from sentinel.report.document import Report
from sentinel.report.experiment_forms import experiment_junit, experiment_markdown
from sentinel.report.junit_xml import junit
from sentinel.report.markdown import audit_markdown, markdown
from sentinel.report.restored import audit_of, costs_of
from sentinel.report.terminal import (
    show,
    show_audit,
    show_comparison,
    show_experiment,
    show_experiments,
    show_overhead,
    show_runs,
)
from sentinel.run import ErrorSample
from sentinel.store import RunSummary


def printed(draw: object, *arguments: object, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    draw(console, *arguments)  # type: ignore[operator]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return str(text)


def test_junit_is_read_back_with_its_counts(report: Report) -> None:
    cases = run_cases(report)
    root = ElementTree.fromstring(
        junit(cases, suite="evil <&> \x00 name", timestamp="2026-01-02T03:04:05", seconds=100)
    )
    (suite,) = root
    found = suite.findall("testcase")
    assert len(found) == int(suite.attrib["tests"]) == len(cases)
    failed = [case for case in found if case.find("failure") is not None]
    assert len(failed) == int(suite.attrib["failures"]) == 2
    assert {case.attrib["name"] for case in failed} == {"p95 < 500 ms", "refused requests cost at most 5 ms"}
    skipped = [case for case in found if case.find("skipped") is not None]
    assert len(skipped) == int(suite.attrib["skipped"]) > 0, "acts that were left out are told"
    assert suite.attrib["time"] == "100.000" and suite.attrib["timestamp"] == "2026-01-02T03:04:05"


def test_a_void_run_and_a_broken_audit_are_failures(report: Report, broken_audit: AuditResult) -> None:
    void = replace(report, record=replace(report.record, void_reasons=("lag p99 was 9 ms",)))
    assert run_cases(void)[0] == Case("run", "is valid", "failed", "lag p99 was 9 ms")
    failed = [case for case in audit_cases(broken_audit) if case.status == "failed"]
    assert (
        len(failed) == 1
        and "over-admission" in failed[0].name
        and "at most 5 are allowed" in failed[0].detail
    )


def test_markdown_tables_are_whole_and_names_stay_text(report: Report) -> None:
    text = markdown(report)
    assert "</script>" not in text and "\\|\\*name\\*" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    assert "FAILED: 1 of 3 criteria do not hold" in text
    for heading in ("#### ✅ audit", "#### overhead (budget 5 ms)", "<details>", "worse by"):
        assert heading in text


def test_a_broken_audit_is_shown_as_such(broken_audit: AuditResult) -> None:
    text = audit_markdown(broken_audit)
    assert text.startswith("#### ❌ audit: never more than 5 in any 1 s")
    shown = printed(show_audit, broken_audit)
    assert "BROKEN: proven are" in shown and "at most 5 are allowed" in shown and "left out:" in shown


def test_the_terminal_ends_with_the_verdict_and_fits_narrow_and_wide(report: Report) -> None:
    for width in (80, 100, 160):
        text = printed(show, report, width=width)
        assert text.index("ramp-up") < text.index("audit:") < text.index("FAILED")
        assert "evil </script><b>|*name*" in text
    assert "▁" in text and "█" in text


def test_markup_in_a_servers_answer_is_not_obeyed(report: Report) -> None:
    hostile = ErrorSample(0, "app", "step", 500, "[bold red]boom[/] | `x` <img src=x>", 3)
    changed = replace(report, record=replace(report.record, errors=(hostile,)))
    assert "[bold red]boom[/]" in printed(show, changed, width=160)


def test_the_history_and_comparison_are_listed(report: Report) -> None:
    run = RunSummary(
        id="run-1",
        name="smoke",
        started_at="2026-01-02T03:04:05+00:00",
        status="complete",
        void=True,
        seconds=9,
        requests=900,
        plan_hash="p",
        host_hash="h",
        figures={"p95_ms": 12.0, "error_rate": None},
        exit_code=None,
    )
    assert "void" in printed(show_runs, [run], width=120)
    assert "no runs yet" in printed(show_runs, [])
    assert report.verdict.comparison is not None
    assert "p95_ms" in printed(show_comparison, report.verdict.comparison)
    assert "NO" in printed(show_overhead, report.overhead, report.budget_us)


def test_an_audit_and_an_overhead_are_restored_to_the_last_field(
    audit_experiment: Experiment, overhead_experiment: Experiment, broken_audit: AuditResult, report: Report
) -> None:
    assert audit_of(audit_experiment) == broken_audit
    costs, budget_us = costs_of(overhead_experiment)
    assert costs[0].found == report.overhead and (costs[0].failed, costs[1].rate) == (3, 2_000.0)
    assert budget_us == 5_000.0
    for experiment, restore in ((overhead_experiment, audit_of), (audit_experiment, costs_of)):
        with pytest.raises(RecordError, match="that can be read"):
            restore(experiment)


def test_every_form_of_a_kept_experiment_says_its_verdict(
    audit_experiment: Experiment, overhead_experiment: Experiment, stopped_experiment: Experiment
) -> None:
    for experiment, word in (
        (audit_experiment, "BROKEN: proven are"),
        (overhead_experiment, "FAILED: not within the budget of 5 ms"),
        (stopped_experiment, "it proves nothing"),
    ):
        assert word in " ".join(printed(show_experiment, experiment).split())
        text = experiment_markdown(experiment)
        assert word in text and "<b>evil" not in text
        root = ElementTree.fromstring(experiment_junit(experiment))
        assert int(root.attrib["failures"]) == 1 and root[0].attrib["timestamp"] == experiment.started_at
    assert "at 2,000 requests/s" in experiment_markdown(overhead_experiment)
    listed = printed(show_experiments, [audit_experiment, overhead_experiment, stopped_experiment], width=80)
    assert [word for word in listed.split() if word in ("broken", "failed", "partial")] == [
        "broken",
        "failed",
        "partial",
    ]


def test_an_overhead_that_measured_too_little_is_void() -> None:
    code, sentence = conclude([Cost(100.0, (), 7, 7)], 5_000.0)
    assert code is ExitCode.VOID and sentence.startswith("VOID") and "7 had no usable answer" in sentence
