"""What a run must hold is read from its own plan, so that a stored run can be judged again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sentinel.analysis import analyse
from sentinel.evidence import ExcessFound
from sentinel.exit_codes import ExitCode
from sentinel.judgement import judge_run
from sentinel.run import JsonObject, Phase, RunRecord
from sentinel.verdict import stopped_words

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


def test_a_run_of_failures_only_is_no_pass_for_want_of_criteria(simulate: Simulate) -> None:
    run = simulate([100.0] * 3)
    assert judge_run(planned(run)).sentence == "PASSED: no criteria were set"
    failed = replace(run, ticks=tuple(replace(tick, outcome="error") for tick in run.ticks))
    verdict = judge_run(planned(failed))
    assert verdict.exit_code is ExitCode.VOID
    assert verdict.sentence.endswith("no criteria were set, and not one of 300 requests succeeded")
    refused = replace(run, ticks=tuple(replace(tick, outcome="denied") for tick in run.ticks))
    assert judge_run(planned(refused)).exit_code is ExitCode.PASS, "refusals may be what was called for"


def test_a_bound_that_a_step_sets_on_itself_is_judged(simulate: Simulate) -> None:
    run = simulate([100.0] * 10)
    assert judge_run(planned(run, p95_ms=1000)).exit_code is ExitCode.PASS
    verdict = judge_run(planned(run, p95_ms=1))
    assert verdict.exit_code is ExitCode.CHECK_FAILED and "post-read/page: p95 < 1 ms" in verdict.sentence


def test_a_steps_bound_that_cannot_be_judged_is_said_and_never_passes_alone(simulate: Simulate) -> None:
    run = simulate([5.0] * 3)
    page = run.response(tick for tick in run.ticks if (tick.application, tick.step) == ("post-read", "page"))
    bound = page.max / 1e6 * 0.98  # all but the slowest keep it: neither kept nor broken for certain
    with_check = judge_run(planned(run, "error_rate < 1 %", p95_ms=bound))
    assert with_check.exit_code is ExitCode.PASS
    assert "1 more could not be judged: post-read/page: p95 <" in with_check.sentence
    assert [result.state for result in with_check.checks] == ["pass", "not judged"]
    alone = judge_run(planned(run, p95_ms=bound))
    assert alone.exit_code is ExitCode.VOID and "nothing could be judged" in alone.sentence


def test_a_steps_bound_that_all_of_few_samples_break_fails(simulate: Simulate) -> None:
    assert judge_run(planned(simulate([5.0] * 3), p95_ms=0.001)).exit_code is ExitCode.CHECK_FAILED


def test_a_criterion_that_cannot_be_judged_fails_the_run(simulate: Simulate) -> None:
    verdict = judge_run(planned(simulate([20.0] * 10), "error_rate < 1 %", "p99 > 1 ms"))
    assert verdict.exit_code is ExitCode.CHECK_FAILED
    assert "1 of 2 criteria could not be judged: p99 > 1 ms (fewer than 10" in verdict.sentence


def test_a_void_run_judges_nothing(simulate: Simulate) -> None:
    run = replace(planned(simulate([100.0] * 10), "throughput > 500/s"), void_reasons=("late",))
    verdict = judge_run(run)
    assert verdict.exit_code is ExitCode.VOID and [r.state for r in verdict.checks] == ["not judged"]


def test_a_run_that_was_stopped_is_no_pass_and_fails_only_by_what_is_certain(simulate: Simulate) -> None:
    phases = (Phase("sustained", 0.0, 40.0),)
    run = replace(planned(simulate([100.0] * 10), "error_rate < 1 %"), status="partial", phases=phases)
    verdict = judge_run(run)
    assert verdict.exit_code is ExitCode.VOID and not verdict.passed
    assert verdict.sentence == (
        "PARTIAL, not judged: the run was stopped after 9 of 40 s; so far 1 of 1 criteria held"
    )
    slow = judge_run(replace(run, scenario={**run.scenario, "checks": ["throughput > 500/s"]}))
    assert slow.exit_code is ExitCode.VOID, "the seconds that are missing might have mended it"
    broken = judge_run(
        replace(run, scenario={**run.scenario, "checks": ["max < 1 ms", "throughput > 500/s"]})
    )
    assert broken.exit_code is ExitCode.CHECK_FAILED and "stopped early" in broken.sentence
    assert [result.state for result in broken.checks] == ["fail", "not judged"]
    killed = judge_run(replace(run, counters={"checkpoint": 1}))
    assert "the run was killed, only the first 10 of 40 s were saved" in killed.sentence


@pytest.mark.parametrize("counters", [{}, {"checkpoint": 1}])
def test_a_partial_run_is_as_long_in_its_figures_as_in_its_notes(
    simulate: Simulate, counters: dict[str, int]
) -> None:
    run = replace(simulate([100.0] * 10), status="partial", phases=(Phase("sustained", 0.0, 40.0),))
    run = replace(run, counters=counters)
    analysis = analyse(run)
    length = f"{analysis.total.seconds:g} of 40 s"
    assert length in stopped_words(run) and any(length in note for note in analysis.notes)
    assert analysis.total.seconds == (10 if counters else 9)


def test_a_segment_is_not_judged_by_the_throughput_of_the_whole(simulate: Simulate) -> None:
    run = planned(simulate([50.0] * 10), "throughput > 90/s")
    assert judge_run(run).exit_code is ExitCode.CHECK_FAILED
    segment = replace(run, counters={"segment": 0, "segments": 2})
    assert judge_run(segment).exit_code is ExitCode.PASS


def test_an_excess_is_judged_when_it_was_looked_for(simulate: Simulate) -> None:
    run = planned(simulate([50.0] * 3), "excess = 0")
    assert judge_run(run, excess=ExcessFound(0, 150, 40, 5, "user", 2)).passed
    assert not judge_run(run, excess=ExcessFound(0, 150, 0, 5, "user", 2)).passed
    assert not judge_run(run, excess=ExcessFound(2, 150, 40, 5, "user", 2)).passed
    assert not judge_run(run).passed
