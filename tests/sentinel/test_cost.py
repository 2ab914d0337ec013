"""An overhead fails for what it shows, and an interval that allows both decides nothing, in every form."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from sentinel.cost import Cost, Pressed, conclude, worst
from sentinel.costing import cost_at
from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.overhead import Answer, Difference, Overhead, Samples
from sentinel.report.experiment_forms import experiment_document, experiment_junit, experiment_markdown
from sentinel.report.experiment_page import experiment_page
from sentinel.report.parts import costs_document
from sentinel.report.terminal import show_experiment

CHEAP = Difference(10.0, 5.0, 20.0)
NOISE = Difference(5_804.0, -6_571.0, 18_179.0)


def entry(answer: Answer, median: Difference, mean: Difference | None = None) -> Overhead:
    return Overhead(answer, 400, 800, 8, 50.0, 40.0, median, mean or median)


@pytest.mark.parametrize(
    ("median", "mean", "state"),
    [
        (CHEAP, CHEAP, "within"),
        (NOISE, NOISE, "undecided"),
        (CHEAP, NOISE, "undecided"),
        (Difference(6_000.0, 5_001.0, 7_000.0), NOISE, "exceeded"),
        (CHEAP, Difference(6_000.0, 5_001.0, 7_000.0), "exceeded"),
        (Difference(5_100.0, 4_700.0, 5_500.0), CHEAP, "exceeded"),
        (Difference(4_900.0, 4_500.0, 5_300.0), CHEAP, "undecided"),
        (Difference(5_100.0, 4_500.0, 5_700.0), CHEAP, "undecided"),
    ],
)
def test_only_an_interval_beyond_the_budget_or_a_narrow_one_around_it_exceeds_it(
    median: Difference, mean: Difference, state: str
) -> None:
    assert entry("allowed", median, mean).state(5_000.0) == state


def test_a_load_that_is_shown_to_be_dear_is_not_hidden_by_a_noisier_one() -> None:
    dear = entry("allowed", Difference(6_000.0, 5_500.0, 6_500.0))
    costs = [
        Cost(rate, (found, entry("refused", CHEAP)), 0)
        for rate, found in ((200.0, dear), (500.0, entry("allowed", NOISE)))
    ]
    assert worst(costs, 5_000.0)[0] is dear
    assert conclude(costs, 5_000.0)[0] is ExitCode.CHECK_FAILED


def test_an_interval_that_decides_nothing_is_void_in_every_form_and_no_failure() -> None:
    costs = (Cost(200.0, (entry("allowed", NOISE), entry("refused", CHEAP)), 0, 1_200),)
    code, sentence = conclude(costs, 5_000.0)
    assert code is ExitCode.VOID
    assert sentence.startswith("VOID: allowed requests: +5804.0 µs [-6571.0, +18179.0] at the median")
    assert "too noisy to tell from the budget of 5 ms" in sentence and "longer --duration" in sentence
    assert conclude(costs, 5_000.0, stopped=True)[1].count("so far too noisy to tell from") == 1
    begun = Experiment.begin("overhead", "a:b", {})
    kept = begun.concluded(costs_document(costs, 5_000.0), code, sentence, requests=1_200)
    console = Console(file=io.StringIO(), width=120)
    show_experiment(console, kept)
    for text in (console.file.getvalue(), experiment_markdown(kept)):  # type: ignore[attr-defined]
        assert "unclear" in text and "NO" not in text.replace("NOT", "")
    assert "not judged" in experiment_page(kept)
    load = experiment_document(kept)["loads"][0]  # type: ignore[index,call-overload]
    assert [one["state"] for one in load["overhead"]] == ["undecided", "within"]  # type: ignore[index,call-overload,union-attr]
    cases = ElementTree.fromstring(experiment_junit(kept)).findall(".//testcase")
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["is valid"]
    assert [case.get("name") for case in cases if case.find("skipped") is not None] == [
        "allowed requests cost at most 5 ms"
    ]


def test_a_starved_machine_that_leaves_too_few_seconds_makes_it_void_and_no_wrong_usage() -> None:
    sent = np.sort(np.random.default_rng(1).integers(0, 5, 2_000)) * 1_000_000_000
    on = np.arange(2_000) % 2 == 0
    took = np.full(2_000, 50_000)
    short = cost_at(444.0, Samples(sent, on, np.zeros(2_000, bool), took), Pressed(10, 9, 5.0), seed=0)
    fine = Cost(200.0, (entry("allowed", CHEAP), entry("refused", CHEAP)), 0)
    code, sentence = conclude((fine, short), 5_000.0)
    assert code is ExitCode.VOID and short.requests == 2_000
    assert sentence == (
        "VOID: at 444 requests/s allowed requests have 5 seconds with both arms; at least 8 are needed: "
        "give it a longer --duration, or a quieter machine"
    )
    dear = Cost(200.0, (entry("allowed", Difference(6_000.0, 5_500.0, 6_500.0)),), 0)
    assert conclude((dear, short), 5_000.0)[0] is ExitCode.CHECK_FAILED, "what is shown is shown"
    begun = Experiment.begin("overhead", "a:b", {})
    kept = begun.concluded(costs_document((fine, short), 5_000.0), code, sentence, requests=4_000)
    console = Console(file=io.StringIO(), width=120)
    show_experiment(console, kept)
    assert "5 seconds with both arms" in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "5 seconds with both arms" in experiment_junit(kept)
