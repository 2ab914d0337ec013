"""JUnit, Markdown and the terminal say the same as the verdict, whatever a server answered."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from rich.console import Console

from sentinel.audit import AuditResult
from sentinel.checks import check, parse_criteria
from sentinel.cost import Cost
from sentinel.cost import conclude as conclude_costs
from sentinel.errors import RecordError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.report.cases import Case, audit_cases, run_cases
from sentinel.report.document import Report, document
from sentinel.report.experiment_forms import experiment_junit, experiment_markdown
from sentinel.report.junit_xml import junit
from sentinel.report.listing import show_experiments, show_runs
from sentinel.report.markdown import audit_markdown, markdown
from sentinel.report.page import page
from sentinel.report.restored import audit_of, costs_of
from sentinel.report.terminal import (
    show,
    show_audit,
    show_comparison,
    show_experiment,
    show_overhead,
)
from sentinel.run import ErrorSample, RunRecord
from sentinel.store import RunSummary
from sentinel.verdict import conclude


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


def test_no_heading_or_figure_is_broken_at_80_columns_and_no_end_of_a_run_cut_off(
    bent_run: RunRecord,
) -> None:
    names = [replace(tick, application="a-name-of-many-letters") for tick in bent_run.ticks]
    text = printed(show, Report.of(replace(bent_run, ticks=tuple(names))), width=80)
    heads = [line.split() for line in text.splitlines() if "served/s" in line]
    assert [head[0] for head in heads] == ["phase", "application"]
    assert all(head[1:4] == ["requests", "served/s", "p50"] and head[-1] == "refused" for head in heads)
    assert "a-name-of-many-letters/" in text and "  comments" in text
    planned, answered, p50 = (line for line in text.splitlines() if " up to " in line)
    assert all(line.rindex("up to") > 60 and "…" not in line for line in (planned, answered, p50))


def test_what_was_not_judged_is_shown_so_in_every_form(bent_run: RunRecord) -> None:
    partial = replace(bent_run, status="partial", counters={"left_behind": 3, "cleaned": 1})
    checks = check(partial, parse_criteria(["p95 < 9 s"]))
    report = Report.of(partial, conclude(partial, checks))
    for text in (printed(show, report), markdown(report), page(report)):
        assert "not judged" in text and "PARTIAL" in text and "stopped after 99 of 100 s" in text
        assert "3 of 4 things that the run created" in text and "lag: median" in text.replace("Lag", "lag")
    cases = {case.name: case.status for case in run_cases(report)}
    told = {"removed what it created": "skipped"}
    assert cases == {"is valid": "passed", "ran to its end": "failed", "p95 < 9000 ms": "skipped", **told}
    void = conclude(replace(partial, void_reasons=("lag p99 was 9 ms",)))
    assert void.sentence.endswith("lag p99 was 9 ms; the run was stopped after 99 of 100 s")
    assert document(report)["checks"][0]["state"] == "not judged"  # type: ignore[index,call-overload]


def test_junit_says_that_a_model_was_closed_whatever_became_of_the_run(bent_run: RunRecord) -> None:
    closed = replace(bent_run, model="closed")
    for run in (closed, replace(closed, void_reasons=("lag p99 was 9 ms",))):
        xml = ElementTree.fromstring(junit(run_cases(Report.of(run)), suite="s"))
        (valid,) = (case for case in xml.iter("testcase") if case.get("name") == "is valid")
        told = "".join(valid.itertext())
        assert "; closed model: users wait for answers, so stalls are under-reported" in told
        assert told.strip().startswith("lag p99" if run.void else "not void")
    assert "closed model" not in junit(run_cases(Report.of(bent_run)), suite="s")


def test_what_was_left_on_the_target_is_named_in_every_form(bent_run: RunRecord) -> None:
    named = ("DELETE /posts/7 answered 500", "DELETE /posts/8 answered \x1b[2J<b>")
    left = replace(bent_run, counters={"left_behind": 5, "cleaned": 1}, left_behind=named)
    report = Report.of(RunRecord.from_dict(left.to_dict()))
    xml = junit(run_cases(report), suite="s")
    skipped = list(ElementTree.fromstring(xml).iter("skipped"))
    assert "left behind: DELETE /posts/7 answered 500" in skipped[0].get("message", "")
    for text in (printed(show, report, width=200), markdown(report), page(report)):
        assert "eft behind: DELETE /posts/7 answered 500" in text and "eft behind: 3 more" in text
        assert "\x1b" not in text
    assert "<b>" not in page(report).partition("posts/8")[2].partition("</li>")[0]
    assert document(report)["run"]["left_behind"][0] == named[0]  # type: ignore[index,call-overload]


def test_markdown_says_which_errors_and_what_the_bottleneck_is(report: Report) -> None:
    text = markdown(report)
    assert "- bottleneck: " in text and "- status: operational" in text
    assert "- 7 × auth-flow/token: 500 Internal Server Error" in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_history_breaks_no_heading(width: int) -> None:
    run = RunSummary(
        id="20260102-030405-abcdef",
        name="launch-day",
        started_at="2026-01-02T03:04:05+00:00",
        status="complete",
        void=False,
        seconds=3_000,
        requests=1_234_567,
        plan_hash="p",
        host_hash="h",
        figures={"p95_ms": 12.0, "error_rate": 0.1},
        exit_code=0,
    )
    text = printed(show_runs, [run], width=width)
    (head,) = (line.split() for line in text.splitlines() if line.strip().startswith("run"))
    if width > 40:
        assert {"run", "scenario", "length", "state", "exit"} <= set(head) and "launch-day" in text
    assert not {"…", "scena", "lengt", "reque"} & set(head), head


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
    assert "| without | added at the median |" in experiment_markdown(overhead_experiment)
    assert "388 µs" in experiment_markdown(overhead_experiment)
    listed = printed(show_experiments, [audit_experiment, overhead_experiment, stopped_experiment], width=80)
    assert [word for word in listed.split() if word in ("broken", "failed", "partial")] == [
        "broken",
        "failed",
        "partial",
    ]


def test_an_overhead_that_measured_too_little_is_void() -> None:
    code, sentence = conclude_costs([Cost(100.0, (), 7, 7)], 5_000.0)
    assert code is ExitCode.VOID and sentence.startswith("VOID") and "7 had no usable answer" in sentence
