"""Pass criteria hold a run to what it showed, and what it cannot show does not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sentinel.checks import CheckResult, check, parse_criteria
from sentinel.errors import ConfigurationError
from sentinel.exit_codes import ExitCode
from sentinel.run import RunRecord

Simulate = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def run(simulate: Simulate) -> RunRecord:
    return simulate([200.0] * 20, errors=0.02, denied=0.1)


def judge(run: RunRecord, text: str, excess: int | None = None) -> CheckResult:
    (result,) = check(run, parse_criteria([text]), excess=excess)
    return result


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("p95 < 500ms", True),
        ("p95 < 1 ms", False),
        ("p50 <= 0.1s", True),
        ("mean < 100 ms", True),
        ("max < 5 ms", False),
        ("error_rate < 5%", True),
        ("error_rate < 1%", False),
        ("denied_rate > 5%", True),
        ("denied_rate = 0%", False),
        ("throughput > 150/s", True),
        ("throughput > 500/s", False),
        ("auth-flow/token: p95 < 500ms", True),
        ("auth-flow: throughput > 150/s", False),
    ],
)
def test_each_kind_of_criterion_passes_and_fails(run: RunRecord, text: str, passed: bool) -> None:
    result = judge(run, text)
    assert result.passed is passed
    assert result.observed is not None and result.samples > 0


def test_a_proven_excess_fails_and_no_audit_proves_nothing(run: RunRecord) -> None:
    assert judge(run, "excess = 0", excess=0).passed
    assert not judge(run, "excess = 0", excess=3).passed
    unknown = judge(run, "excess = 0")
    assert not unknown.passed and unknown.observed is None and "no audit ran" in unknown.detail


def test_a_percentile_that_too_few_samples_lie_above_does_not_pass(simulate: Simulate) -> None:
    result = judge(simulate([20.0] * 10), "p99 < 10ms")
    assert not result.passed and result.observed is None
    assert "fewer than 10 of" in result.detail and "run longer" in result.detail
    assert not judge(simulate([20.0] * 10), "p99 > 10ms").passed


def test_a_bound_that_even_the_slowest_of_few_samples_keeps_holds_and_says_why(simulate: Simulate) -> None:
    result = judge(simulate([20.0] * 10), "p99 < 10s")
    assert result.passed and result.observed is None
    assert "samples within" in result.detail and "too few to tell a p99" in result.detail


def test_a_series_that_was_never_requested_does_not_pass(run: RunRecord) -> None:
    result = judge(run, "no-such-app: error_rate < 1%")
    assert not result.passed and "no requests of no-such-app" in result.detail
    assert not judge(replace(run, ticks=()), "error_rate < 1%").passed


def test_the_error_rate_counts_over_all_requests(run: RunRecord) -> None:
    counts = run.counts()
    result = judge(run, "error_rate < 5%")
    assert result.observed == counts["error"] / sum(counts.values())
    assert f"{counts['error']} of {sum(counts.values())}" in str(result)


@pytest.mark.parametrize(
    "text", ["p95 < fast", "p95 << 5ms", "p101 < 5ms", "colour < 5", "throughput > 5 ms", ""]
)
def test_bad_criteria_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_criteria(["p95 < 500ms", text])


def test_exit_codes_are_fixed() -> None:
    assert [(code.name, int(code)) for code in ExitCode] == [
        ("PASS", 0), ("USAGE", 1), ("CHECK_FAILED", 2), ("REGRESSION", 3), ("VOID", 4), ("UNREACHABLE", 5),
    ]  # fmt: skip
