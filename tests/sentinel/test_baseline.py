"""Comparison over runs: rarely wrong on unchanged code, quick to see a change."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from sentinel.baseline import BEFORE, LATEST, Measure, compare, judge, mann_whitney
from sentinel.checks import check, parse_criteria
from sentinel.errors import ConfigurationError
from sentinel.exit_codes import ExitCode
from sentinel.run import RunRecord
from sentinel.verdict import conclude

P95 = Measure("p95_ms")


def unchanged(rng: np.random.Generator, runs: int) -> list[float]:
    """Draw the p95 of runs of one build: 4 % spread between runs, and every twentieth run on a bad
    machine."""
    bad = rng.random(runs) < 0.05
    values = 100 * rng.lognormal(0, 0.04, runs) * np.where(bad, rng.uniform(1.1, 1.6, runs), 1.0)
    return [float(value) for value in values]


def states(values: list[float]) -> list[str]:
    return [judge(P95, values[: end + 1]).state for end in range(LATEST + BEFORE - 1, len(values))]


def test_false_regressions_are_rare_on_unchanged_code() -> None:
    rng = np.random.default_rng(20)
    found = [state for _ in range(60) for state in states(unchanged(rng, 125))]
    assert len(found) == 60 * 101
    assert found.count("regression") / len(found) < 0.01, "0.7 in a hundred, measured over 20,000 runs"
    assert found.count("warning") / len(found) < 0.06, (
        "no more than the runs that really were on a bad machine"
    )


def test_a_build_fifteen_percent_slower_is_a_regression_within_five_runs() -> None:
    rng = np.random.default_rng(21)
    caught = 0
    for _ in range(100):
        before, after = unchanged(rng, 40), [1.15 * value for value in unchanged(rng, LATEST)]
        caught += "regression" in states([*before, *after])
    assert caught >= 97


def test_a_run_that_stands_out_is_a_warning_at_once_and_a_small_or_better_one_is_not() -> None:
    steady = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0, 100.2]
    assert judge(P95, [*steady, 130.0]).state == "warning"
    assert judge(P95, [*steady, 104.5]).state == "ok", "below five percent"
    assert judge(P95, [*steady, 50.0]).state == "ok", "better is not worse"
    noisy = [60.0, 140.0, 80.0, 120.0, 100.0, 70.0, 130.0]
    assert judge(P95, [*noisy, 150.0]).state == "ok", "within what these runs always did"


def test_throughput_is_worse_when_it_falls_and_a_tiny_error_rate_is_no_news() -> None:
    falling = Measure("throughput", higher_is_worse=False)
    steady = [500.0, 501.0, 499.0, 500.0, 502.0, 498.0]
    assert judge(falling, [*steady, 400.0]).state == "warning"
    assert judge(falling, [*steady, 600.0]).state == "ok"
    errors = Measure("error_rate", least=0.001)
    assert judge(errors, [0.0] * 10 + [0.0005]).state == "ok"
    assert judge(errors, [0.0] * 10 + [0.02]).state == "warning"


def test_too_few_runs_decide_nothing() -> None:
    assert judge(P95, [100.0, 200.0]).state == "undecided"
    comparison = compare("b", {"p95_ms": 200.0}, [("a", {"p95_ms": 100.0})])
    assert comparison.state == "undecided" and "1 comparable runs" in comparison.statement
    assert comparison.changes[0].change == 1.0
    with pytest.raises(ConfigurationError, match="compares with nothing"):
        judge(P95, [1.0])


def test_the_exact_probability_agrees_with_counting_every_deal_ties_included() -> None:
    rng = random.Random(6)
    for _ in range(30):
        m, n = rng.randint(1, 4), rng.randint(1, 5)
        values = [rng.randint(0, 6) for _ in range(m + n)]

        def u(chosen: tuple[int, ...], values: list[int] = values) -> float:
            rest = [v for i, v in enumerate(values) if i not in chosen]
            return sum((values[i] > v) + (values[i] == v) / 2 for i in chosen for v in rest)

        deals = [u(chosen) for chosen in combinations(range(m + n), m)]
        reached = u(tuple(range(m)))
        expected = sum(deal >= reached for deal in deals) / len(deals)
        assert mann_whitney(values[:m], values[m:]) == pytest.approx(expected)


def test_the_normal_approximation_is_close_to_the_exact_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    above, below = (
        [round(rng.gauss(0.4, 1), 1) for _ in range(40)],
        [round(rng.gauss(0, 1), 1) for _ in range(40)],
    )
    exact = mann_whitney(above, below)
    monkeypatch.setattr("sentinel.baseline._EXACT_UP_TO", 0)
    assert mann_whitney(above, below) == pytest.approx(exact, rel=0.1)
    assert mann_whitney([1.0, 1.0], [1.0]) == 1.0
    with pytest.raises(ConfigurationError, match="at least one value"):
        mann_whitney([], [1.0])


def test_a_regression_of_one_figure_is_the_comparisons_state(simulate: Callable[..., RunRecord]) -> None:
    earlier = [
        (f"r{n}", {"p95_ms": 100.0 + n % 4 + (20 if n >= 20 else 0), "throughput": 500.0}) for n in range(24)
    ]
    comparison = compare("new", {"p95_ms": 122.0, "throughput": 500.0, "p99_ms": None}, earlier)
    assert comparison.state == "regression" and len(comparison.changes) == 2
    assert "p95_ms of the last 5 runs" in comparison.statement
    run = simulate([50.0] * 10)
    passing, failing = (
        check(run, parse_criteria([text])) for text in ("error_rate < 1%", "throughput > 900/s")
    )
    assert conclude(run, passing, comparison).exit_code is ExitCode.REGRESSION
    assert conclude(run, failing, comparison).exit_code is ExitCode.CHECK_FAILED
    void = conclude(replace(run, void_reasons=("lag p99 was 9 ms",)), failing, comparison)
    assert void.exit_code is ExitCode.VOID and "lag p99 was 9 ms" in void.sentence
    stopped = conclude(replace(run, status="partial"), passing, comparison)
    assert stopped.exit_code is ExitCode.VOID and "stopped after 9 s" in stopped.sentence
