"""JUnit, Markdown and the terminal say the same as the verdict, whatever a server answered."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

from rich.console import Console

from sentinel.audit import AuditResult
from sentinel.report.cases import Case, audit_cases, run_cases
from sentinel.report.document import Report
from sentinel.report.junit_xml import junit
from sentinel.report.markdown import audit_markdown, markdown
from sentinel.report.terminal import show, show_audit, show_comparison, show_overhead, show_runs
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
