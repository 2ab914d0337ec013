"""Comparison over runs: rarely wrong on unchanged code, quick to see a change."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from statistics import median

import numpy as np
import pytest

from sentinel.baseline import BEFORE, LATEST, MEASURES, Measure, compare, judge, mann_whitney
from sentinel.checks import check, parse_criteria
from sentinel.deals import Dealt, chances
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


def runs_of(
    rng: np.random.Generator, count: int, *, common: float, spread: float = 0.04, slower: float = 1.0
) -> list[tuple[str, dict[str, float | None]]]:
    """Draw all five figures of runs of one build, the last five slower; `common` is the share of the spread
    that the latencies have in common."""
    noise = np.sqrt(common) * rng.normal(size=(count, 1)) + np.sqrt(1 - common) * rng.normal(size=(count, 3))
    bad = np.where(rng.random(count) < 0.05, rng.uniform(1.1, 1.6, count), 1.0)
    times = np.array([10.0, 40.0, 80.0]) * np.exp(spread * noise) * bad[:, None]
    times[-LATEST:] *= slower
    errors, sent = rng.binomial(5_000, 0.002, count) / 5_000, rng.uniform(498, 500, count)
    rows = np.column_stack([times, errors, sent]).tolist()
    return [(f"r{n}", dict(zip((m.name for m in MEASURES), row, strict=True))) for n, row in enumerate(rows)]


def regression(runs: list[tuple[str, dict[str, float | None]]], at: int) -> bool:
    return compare(*runs[at], runs[:at]).state == "regression"


def alone(runs: list[tuple[str, dict[str, float | None]]]) -> dict[str, str]:
    """Judge each figure of the last run as if it were the only one."""
    return {m.name: judge(m, [row[m.name] or 0.0 for _, row in runs]).state for m in MEASURES}


def test_false_regressions_are_rare_when_all_figures_of_a_run_are_judged() -> None:
    rng = np.random.default_rng(22)
    one_by_one = claimed = 0
    for _ in range(400):
        for common, spread in [(0.0, 0.04), (0.0, 0.10), (0.8, 0.04), (0.8, 0.15)]:
            runs = runs_of(rng, BEFORE + LATEST, common=common, spread=spread)
            one_by_one += "regression" in alone(runs).values()
            claimed += regression(runs, len(runs) - 1)
    most = 25  # of 1,600: one in a hundred brings more than that in one of a hundred tries
    assert one_by_one > most, "judged one by one, the five figures cry wolf too often"
    assert claimed <= most


def test_a_build_fifteen_percent_slower_is_caught_with_all_figures_judged() -> None:
    rng = np.random.default_rng(23)
    caught = 0
    for common in [0.0, 0.8] * 20:
        runs = runs_of(rng, 45, common=common, slower=1.15)
        caught += any(regression(runs, at) for at in (44, 43, 42))
    assert caught >= 37, "of 40; a bad machine among the latest five hides it now and then"


def test_a_figure_clear_enough_alone_is_no_regression_where_chance_shows_as_much_in_any_of_them() -> None:
    rng = np.random.default_rng(24)
    for _ in range(400):
        runs = runs_of(rng, 25, common=0.0, spread=0.1)
        clear = {name for name, state in alone(runs).items() if state == "regression"}
        changes = {change.measure: change for change in compare(*runs[-1], runs[:-1]).changes}
        claimed = {name for name, change in changes.items() if change.state == "regression"}
        assert claimed <= clear
        if clear and not claimed:
            change = changes[clear.pop()]
            assert change.p is not None and change.p < 0.01 and change.state in ("ok", "warning")
            return
    pytest.fail("of 400 comparisons some must be so")


def test_the_chance_over_all_figures_agrees_with_dealing_the_runs_by_hand() -> None:
    rng = random.Random(25)
    for _ in range(20):
        table = [[float(rng.randint(1, 9)) for _ in range(8)] for _ in range(3)]
        leasts = [rng.choice([0.0, 1.0]) for _ in table]

        def rarity(values: list[float], least: float, chosen: tuple[int, ...]) -> float:
            """Give the share of deals that rank as high, where the medians differ enough; else 2."""
            rest = [v for at, v in enumerate(values) if at not in chosen]
            now, usual = median(values[at] for at in chosen), median(rest)
            if not (now > usual and now - usual >= 0.2 * usual and now - usual >= least):
                return 2.0
            return mann_whitney([values[at] for at in chosen], rest)

        deals = list(combinations(range(8), 3))
        best = [min(rarity(v, least, deal) for v, least in zip(table, leasts, strict=True)) for deal in deals]
        expected = []
        for values, least in zip(table, leasts, strict=True):
            met = rarity(values, least, (5, 6, 7))
            expected.append(1.0 if met > 1 else sum(b <= met for b in best) / len(deals))
        dealt = [Dealt(values, least) for values, least in zip(table, leasts, strict=True)]
        assert chances(dealt, 3, 0.2) == pytest.approx(expected)


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
    assert comparison.state == "undecided" and "1 comparable run, 5 are needed" in comparison.statement
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
    assert "(p = 1.9e-05; 1.9e-05 over all figures)" in comparison.statement
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
