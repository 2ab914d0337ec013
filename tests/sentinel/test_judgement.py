"""What a run must hold is read from its own plan, so that a stored run can be judged again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sentinel.exit_codes import ExitCode
from sentinel.judgement import judge_run
from sentinel.run import JsonObject, RunRecord

Simulate = Callable[..., RunRecord]


def planned(record: RunRecord, *checks: str, p95_ms: float | None = None) -> RunRecord:
    expect: JsonObject = {"p95_ms": p95_ms}
    step: JsonObject = {"name": "page", "expect": expect}
    application: JsonObject = {"name": "post-read", "steps": [step]}
    return replace(record, scenario={"name": "x", "checks": list(checks), "applications": [application]})


def test_the_scenarios_criteria_are_judged(simulate: Simulate) -> None:
    run = simulate([100.0] * 10)
    assert judge_run(planned(run, "error_rate < 1 %", "throughput > 50/s")).exit_code is ExitCode.PASS
    verdict = judge_run(planned(run, "error_rate < 1 %", "throughput > 500/s"))
    assert verdict.exit_code is ExitCode.CHECK_FAILED and "throughput > 500/s" in verdict.sentence


def test_a_bound_that_a_step_sets_on_itself_is_judged(simulate: Simulate) -> None:
    run = simulate([100.0] * 10)
    assert judge_run(planned(run, p95_ms=1000)).exit_code is ExitCode.PASS
    verdict = judge_run(planned(run, p95_ms=1))
    assert verdict.exit_code is ExitCode.CHECK_FAILED and "post-read/page: p95 < 1 ms" in verdict.sentence


def test_a_steps_bound_is_left_aside_where_its_percentile_cannot_be_known(simulate: Simulate) -> None:
    assert judge_run(planned(simulate([5.0] * 3), p95_ms=0.001)).exit_code is ExitCode.PASS


def test_a_segment_is_not_judged_by_the_throughput_of_the_whole(simulate: Simulate) -> None:
    run = planned(simulate([50.0] * 10), "throughput > 90/s")
    assert judge_run(run).exit_code is ExitCode.CHECK_FAILED
    segment = replace(run, counters={"segment": 0, "segments": 2})
    assert judge_run(segment).exit_code is ExitCode.PASS


def test_an_excess_is_judged_when_it_was_looked_for(simulate: Simulate) -> None:
    run = planned(simulate([50.0] * 3), "excess = 0")
    assert judge_run(run, excess=0).passed
    assert not judge_run(run, excess=2).passed
    assert not judge_run(run).passed
