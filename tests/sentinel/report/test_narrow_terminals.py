"""At 80 columns, which is what a log has, no label is cut to pieces and no word broken."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sentinel.catalog import SCENARIOS
from sentinel.commands import cli
from sentinel.commands.exits import invoke
from sentinel.cost import Cost, conclude
from sentinel.experiment import Experiment
from sentinel.overhead import Difference, Overhead
from sentinel.report.listing import show_experiments
from sentinel.report.parts import costs_document
from sentinel.report.terminal import show_experiment

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


@pytest.mark.parametrize("width", [80, 120])
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
