"""However narrow a terminal, no figure is cut and no name lost; at 80 columns no word is broken."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from sentinel.catalog import SCENARIOS
from sentinel.commands import cli
from sentinel.commands.exits import invoke
from sentinel.cost import Cost, conclude
from sentinel.experiment import Experiment
from sentinel.overhead import Difference, Overhead
from sentinel.report.document import Report
from sentinel.report.layout import folded, laid_out
from sentinel.report.listing import show_experiments, show_runs
from sentinel.report.parts import costs_document
from sentinel.report.terminal import show, show_comparison, show_experiment
from sentinel.store import RunSummary

WIDE = Difference(-20_015.0, -120_571.0, 118_179.0)
FOUND = (
    Overhead("allowed", 400, 800, 8, 20_211.0, 20_250.0, WIDE, WIDE),
    Overhead("refused", 400, 800, 8, 20_211.0, 20_250.0, WIDE, WIDE),
)


def an_experiment(*, stopped: bool = False) -> Experiment:
    costs = (Cost(1_111.0, FOUND, 0, 8_000),)
    begun = Experiment.begin("overhead", "http://127.0.0.1:8000", {})
    code, sentence = conclude(costs, 5_000.0, stopped=stopped)
    return begun.concluded(costs_document(costs, 5_000.0), code, sentence, requests=8_000, stopped=stopped)


def words(draw: object, what: object, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    draw(console, what)  # type: ignore[operator]
    text = str(console.file.getvalue())  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text, text
    return text.split()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_an_overhead_says_whole_words_however_wide_its_figures_are(width: int) -> None:
    said = words(show_experiment, an_experiment(), width)
    assert {"allowed", "refused", "-20015", "[-120571,", "+118179]", "unclear"} <= set(said)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_history_of_experiments_breaks_neither_heading_nor_state(width: int) -> None:
    said = words(show_experiments, [an_experiment(stopped=True)], width)
    assert {"experiment", "state", "exit", "partial"} <= set(said) and "partial," not in said


def test_the_scenarios_are_listed_without_a_broken_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert invoke(cli, ["scenarios"]) == 0
    out = capsys.readouterr().out
    said = {word.rstrip(",") for word in out.split()}
    for scenario in SCENARIOS.values():
        assert {scenario.name, *scenario.mix} <= said
    assert max(map(len, out.splitlines())) <= 80 and len(out.splitlines()) < 70


def figures_in(said: list[str]) -> set[str]:
    """Give the words that are figures of a table: digits, perhaps with a sign, a comma, a point or a %."""
    return {word for word in said if re.fullmatch(r"[+-]?[\d.,]*\d%?", word)}


def in_order(name: str, said: list[str]) -> bool:
    """Tell whether the parts of a name follow each other, perhaps with the cells beside them in between."""
    parts = (re.escape(part) for part in re.findall(r"[^-/]+[-/]?", name))
    return re.search(".*?".join(parts), " ".join(said)) is not None


def test_a_report_has_the_same_names_and_figures_at_40_columns_as_at_200(report: Report) -> None:
    wide, narrow = (words(show, report, width) for width in (200, 40))
    names = {phase.name for phase, _ in report.analysis.phases} | {"whole"}
    names |= {f"{application}/{step}" for application, step in report.analysis.series}
    names |= {act.name for act in report.audit.acts} if report.audit else set()
    assert names <= set(wide) and names <= set(narrow)
    labels = {"requests", "served/s", "p50", "p95", "p99", "errors", "refused", "figure", "usually", "worse"}
    assert labels <= set(narrow)
    assert figures_in(wide) == figures_in(narrow)
    for entry in ("22,680", "0.46%", "+495.8%"):
        assert wide.count(entry) == narrow.count(entry) > 0


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_comparison_keeps_its_figures_and_their_names(report: Report, width: int) -> None:
    comparison = report.verdict.comparison
    assert comparison is not None
    said = words(show_comparison, comparison, width)
    assert {"p95_ms", "throughput", "warning", "+495.8%", "503.5", "3000", "170"} <= set(said)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_history_of_runs_names_every_scenario(width: int) -> None:
    run = RunSummary("20261122-041433-8bda0b", "launch-day-of-the-blog", "2026-11-22T04:14:33", "partial",
                     False, 30, 1_334, "", "", {"p95_ms": 0.858, "error_rate": 1.0}, 4)  # fmt: skip
    said = words(show_runs, [run], width)
    assert {"20261122-041433-8bda0b", "partial", "exit", "4"} <= set(said)
    assert in_order("launch-day-of-the-blog", said)
    if width in (40, 120):
        assert {"100.00%", "0.858", "1,334"} <= set(said)


def test_a_title_that_is_wider_than_its_box_stands_inside(report: Report) -> None:
    name = "a-scenario-whose-name-takes-more-than-one-line-of-forty"
    record = replace(report.record, scenario={**report.record.scenario, "name": name})
    assert name in "".join(words(show, replace(report, record=record), 40)).replace("││", "")


@pytest.mark.parametrize("width", range(16, 90, 7))
def test_no_cell_is_lost_at_any_width(width: int) -> None:
    rows = [("blog-reader/open-post", "1,234,567", "100.00%"), ("a/b", "1", "0.00%")]
    said = words(Console.print, laid_out(("application", "requests", "errors"), rows), width)
    assert {"1,234,567", "100.00%", "1", "0.00%"} <= set(said)
    assert in_order("blog-reader/open-post", said)


def test_a_name_is_broken_at_its_slash_before_its_hyphens() -> None:
    assert folded("blog-reader/open-post", 16).split() == ["blog-reader/", "open-post"]
    assert folded("blog-reader", 8).split() == ["blog-", "reader"]
