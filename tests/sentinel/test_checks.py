"""Pass criteria hold a run to what it showed, and what it cannot show does not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sentinel.checks import CheckResult, check, parse_criteria
from sentinel.errors import ConfigurationError
from sentinel.evidence import ExcessFound
from sentinel.exit_codes import ExitCode
from sentinel.histogram import Histogram
from sentinel.run import Phase, RunRecord, Tick
from sentinel.verdict import conclude

Simulate = Callable[..., RunRecord]


@pytest.fixture(scope="module")
def run(simulate: Simulate) -> RunRecord:
    return simulate([200.0] * 20, errors=0.02, denied=0.1)


def found(proven: int, refused: int = 30) -> ExcessFound:
    return ExcessFound(proven, 400, refused, 20, "user", 3)


def judge(run: RunRecord, text: str, excess: ExcessFound | None = None) -> CheckResult:
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
    held = judge(run, "excess = 0", excess=found(0))
    assert held.passed and "30 refused; 3 or more at one user would have been proven" in held.detail
    assert judge(run, "excess = 0", excess=found(3)).state == "fail"
    unknown = judge(run, "excess = 0")
    assert unknown.state == "not judged" and unknown.observed is None and "no audit ran" in unknown.detail


def test_no_excess_where_nothing_was_refused_shows_no_limit(run: RunRecord) -> None:
    unknown = judge(run, "excess = 0", excess=found(0, refused=0))
    assert unknown.state == "not judged" and "none of the 400 requests was refused" in unknown.detail
    assert judge(run, "excess = 0", excess=found(2, refused=0)).state == "fail", "what is proven is proven"


def test_a_percentile_that_too_few_samples_lie_above_does_not_pass(simulate: Simulate) -> None:
    run = simulate([20.0] * 10)
    nearly = run.response().max / 1e6 * 0.98  # one or two samples are above: that may be chance
    result = judge(run, f"p99 < {nearly:.2f} ms")
    assert result.state == "not judged" and result.observed is None
    assert "fewer than 10 of" in result.detail and "run longer" in result.detail
    assert not judge(simulate([20.0] * 10), "p99 > 10ms").passed


def test_a_bound_that_even_the_slowest_of_few_samples_keeps_holds_and_says_why(simulate: Simulate) -> None:
    result = judge(simulate([20.0] * 10), "p99 < 10s")
    assert result.passed and result.observed is None
    assert "samples within" in result.detail and "too few to tell a p99" in result.detail


def test_few_samples_fail_a_bound_that_so_many_of_them_are_above(simulate: Simulate) -> None:
    result = judge(simulate([20.0] * 2), "p95 < 1 ms")
    assert result.state == "fail" and result.observed is None
    assert f"{result.samples} of {result.samples} samples above 1 ms" in result.detail


def test_the_throughput_is_that_of_the_load_without_the_wait_for_its_last_answers(run: RunRecord) -> None:
    sent = sum(tick.count for tick in run.ticks if tick.second < 2)
    short = replace(
        run,
        ticks=tuple(tick for tick in run.ticks if tick.second < 2),
        planned=(*run.planned[:2], 0),
        served={name: (*counts[:2], 3) for name, counts in run.served.items()},
        phases=(Phase("sustained", 0.0, 2.0),),
    )
    result = judge(short, "throughput > 150/s")
    assert result.passed and "over 2 s" in result.detail, "its third second only brought late answers"
    trailing = replace(short, planned=(*run.planned[:2], *[1] * 6))
    assert "over 2 s" in judge(trailing, "throughput > 150/s").detail, "steps that follow late change nothing"
    queued = replace(short, served={("post-read", "page"): (60, 60, sent - 120)})
    assert judge(queued, "throughput > 60/s").observed == 60.0, "answered too late"


def test_the_throughput_counts_right_answers_that_came_in_time_not_their_share_of_all(
    simulate: Simulate,
) -> None:
    """Every other request fails at once, every other one is served six seconds later."""
    run = simulate([50.0] * 8)
    slow, quick = Histogram([6_000_000_000] * 25), Histogram([1_000_000] * 25)
    late = replace(
        run,
        ticks=tuple(
            Tick(second, "one", "get", outcome, times, times)
            for second in range(8)
            for outcome, times in (("ok", slow), ("error", quick))
        ),
        planned=(50,) * 8 + (0,) * 6,
        done=(25,) * 6 + (50,) * 2 + (25,) * 6,
        served={("one", "get"): (0,) * 6 + (25,) * 8},
        phases=(Phase("sustained", 0.0, 8.0),),
    )
    assert judge(late, "throughput > 12/s").observed == 50 / 8
    assert judge(late, "one/get: throughput > 12/s").state == "fail"
    assert judge(replace(late, served={}), "throughput > 12/s").observed == 50 / 8, (
        "recorded before it was counted"
    )
    stuck = replace(late, served={("one", "get"): (25,) * 6 + (0, 0)})
    assert judge(stuck, "throughput > 15/s").observed == 150 / 8, (
        "that all fail later takes none of them away"
    )


def test_a_series_that_was_never_requested_does_not_pass(run: RunRecord) -> None:
    result = judge(run, "no-such-app: error_rate < 1%")
    assert not result.passed and "no requests of no-such-app" in result.detail
    assert not judge(replace(run, ticks=()), "error_rate < 1%").passed


def test_the_error_rate_counts_over_all_requests(run: RunRecord) -> None:
    counts = run.counts()
    result = judge(run, "error_rate < 5%")
    assert result.observed == counts["error"] / sum(counts.values())
    assert f"{counts['error']} of {sum(counts.values())}" in str(result)


def test_a_share_of_few_requests_holds_of_those_and_says_that_they_do_not_tell_more(
    simulate: Simulate,
) -> None:
    few = judge(simulate([20.0] * 10, errors=0.0), "error_rate < 1%")
    assert few.passed and few.few and "too few requests to tell 1 %" in few.detail
    assert judge(simulate([20.0] * 10, errors=0.0), "error_rate = 0%").few is False, "that is about these"
    verdict = conclude(simulate([20.0] * 10, errors=0.0), [few])
    assert verdict.sentence == "PASSED: its criterion holds, as far as so few requests tell"
    assert judge(simulate([200.0] * 20, errors=0.0), "error_rate < 1%").few is False
    assert judge(simulate([20.0] * 10, errors=0.0), "error_rate < 5%").few is False


@pytest.mark.parametrize(
    "text", ["p95 < fast", "p95 << 5ms", "p101 < 5ms", "colour < 5", "throughput > 5 ms", ""]
)
def test_bad_criteria_are_named(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_criteria(["p95 < 500ms", text])


def test_exit_codes_are_fixed() -> None:
    assert [(code.name, int(code)) for code in ExitCode] == [
        ("PASS", 0), ("USAGE", 1), ("CHECK_FAILED", 2), ("REGRESSION", 3), ("VOID", 4), ("UNREACHABLE", 5),
        ("NOT_WRITTEN", 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["p95 < 500 ms", "mean < 500 ms", "max < 500 ms", "p99.9 < 500 ms", "p50 > 0 ms"]
)
def test_no_latency_holds_where_not_one_request_was_served(simulate: Simulate, text: str) -> None:
    run = simulate([200.0] * 20, errors=1.0, denied=0.1)
    result = judge(run, text)
    assert result.state == "not judged" and "requests failed" in result.detail
    verdict = conclude(run, [result])
    assert verdict.exit_code is ExitCode.CHECK_FAILED and "could not be judged" in verdict.sentence


def test_a_latency_of_failures_alone_still_fails_where_it_is_too_long(simulate: Simulate) -> None:
    assert judge(simulate([200.0] * 20, errors=1.0), "max < 1 us").state == "fail"


def test_one_request_that_was_served_makes_a_latency_one_of_a_server(run: RunRecord) -> None:
    failing = [replace(tick, outcome="error") for tick in run.ticks if tick.outcome in ("ok", "error")]
    served = next(number for number, tick in enumerate(failing) if tick.count)
    failing[served] = replace(failing[served], outcome="ok")
    assert judge(replace(run, ticks=tuple(failing)), "p95 < 500 ms").passed
