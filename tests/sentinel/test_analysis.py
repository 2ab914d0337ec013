"""The analysis reads back what a queue of known capacity was made to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from sentinel.analysis import analyse, health_of
from sentinel.bottleneck import Bottleneck
from sentinel.figures import figures
from sentinel.histogram import Histogram
from sentinel.knee import LoadStep, knee, load_steps
from sentinel.run import RunRecord, Tick

Simulate = Callable[..., RunRecord]
RAMP = np.linspace(20, 520, 40).tolist()


def test_the_knee_is_found_at_the_queues_capacity_and_confirmed_by_what_was_left_undone(
    simulate: Simulate,
) -> None:
    for seed in (1, 2, 3):
        found = analyse(simulate(RAMP, seed=seed)).knee
        assert found is not None and found.confirmed
        assert 320 <= found.offered <= 450, "the queue serves 400 a second"
        assert "of the offered load was completed" in found.statement


def test_a_quick_ramp_has_fewer_and_wider_steps_and_its_knee_is_found(simulate: Simulate) -> None:
    ramp = np.linspace(100, 600, 20).tolist()
    for seed in (1, 2, 3):
        run = simulate([*ramp, *[600.0] * 3, *[100.0] * 20], seed=seed)
        assert all(step.seconds >= 3 and step.samples >= 100 for step in load_steps(run))
        found = analyse(run).knee
        assert found is not None and found.confirmed and 320 <= found.offered <= 560


def test_nothing_is_said_of_a_knee_by_a_load_that_did_not_rise_or_hardly_was_one(simulate: Simulate) -> None:
    for seed in range(4):
        constant = analyse(simulate([100.0] * 30, seed=seed))
        assert constant.knee is None and constant.knee_statement.startswith("knee unknown: ")
        assert constant.bottleneck.kind == "unknown"
    brief = analyse(simulate([100.0, 200.0, 300.0, 400.0]))
    assert brief.knee_statement.startswith("knee unknown") and brief.bottleneck.kind == "unknown"
    few = analyse(simulate([*[100.0] * 4, *[400.0] * 4]))
    assert "too few steps of rising load to tell (2 of at least 3" in few.knee_statement
    single = analyse(replace(simulate([100.0]), planned=(1,), done=(1,)))
    assert single.knee_statement.startswith("knee unknown") and single.bottleneck.kind == "unknown"


def test_a_void_run_concludes_nothing(simulate: Simulate) -> None:
    void = analyse(replace(simulate([*RAMP, *[50.0] * 20]), void_reasons=("lag p99 was 9 ms",)))
    assert (void.knee, void.recovery, void.health) == (None, None, "unknown") and not void.incident
    assert void.knee_statement == "knee unknown: the run is void"


def test_no_knee_is_claimed_below_capacity(simulate: Simulate) -> None:
    for seed in range(6):
        analysis = analyse(simulate(np.linspace(20, 220, 40).tolist(), seed=seed))
        assert analysis.knee is None and analysis.bottleneck.kind == "none"
        assert re.search("no knee from .* to 2.. requests/s", analysis.knee_statement)


def test_latency_that_rises_while_everything_is_completed_is_a_knee_that_is_not_confirmed() -> None:
    def step(rate: float, p95: float) -> LoadStep:
        return LoadStep(rate, rate, 0.0, 5, 900, p95, p95 * 0.95, p95 * 1.05, 1.0)

    found = knee((step(100, 10), step(200, 10), step(300, 20), step(400, 30)))
    assert found is not None and (found.offered, found.confirmed) == (300, False)
    assert knee((step(100, 10), step(200, 30), step(300, 10), step(400, 10))) is None, (
        "one bad step is no knee"
    )
    assert knee((step(100, 10), step(200, 40))) is None, "two steps are too few"


def test_a_cold_first_step_does_not_become_the_floor() -> None:
    cold = LoadStep(50, 50, 0.0, 5, 900, 80.0, 70.0, 90.0, 1.0)
    warm = [
        LoadStep(100.0 * n, 100.0 * n, 0.0, 5, 900, p95, p95 - 1, p95 + 1, 1.0)
        for n, p95 in ((1, 10.0), (2, 10.0), (3, 60.0))
    ]
    found = knee((cold, *warm))
    assert found is not None and found.offered == 300


def test_littles_law_holds_on_every_step_of_an_honest_record_and_a_false_one_is_noted(
    simulate: Simulate,
) -> None:
    run = simulate(np.linspace(50, 300, 40).tolist())
    judged = [step.little for step in load_steps(run) if step.little is not None]
    assert len(judged) >= 4 and all(abs(little - 1) < 0.1 for little in judged)
    assert not analyse(run).notes
    wrong = replace(run, in_flight=tuple(value * 3 for value in run.in_flight))
    assert "Little's law is off by 2" in " ".join(analyse(wrong).notes)
    empty = replace(run, in_flight=tuple(0.0 for _ in run.in_flight))
    assert "Little's law is off by 100%" in " ".join(analyse(empty).notes)


def test_littles_law_is_not_asked_where_hardly_anything_is_under_way(simulate: Simulate) -> None:
    quick = simulate(np.linspace(20, 40, 40).tolist(), service_ms=0.5)
    assert load_steps(quick) and all(step.little is None for step in load_steps(quick))


def test_littles_law_is_asked_neither_of_what_the_sampling_cannot_tell_nor_of_the_wait_to_be_sent(
    simulate: Simulate,
) -> None:
    fast = simulate(np.linspace(100, 1_500, 30).tolist(), service_ms=1.0)
    sampled = replace(fast, in_flight=tuple(1.5 * value for value in fast.in_flight))
    assert not any("Little" in note for note in analyse(sampled).notes)
    run = simulate(np.linspace(50, 300, 40).tolist())
    held = tuple(
        replace(tick, response=Histogram([round(3 * (tick.response.mean or 0))] * tick.count))
        for tick in run.ticks
    )
    assert not any("Little" in note for note in analyse(replace(run, ticks=held)).notes)


def test_recovery_is_timed_from_the_end_of_the_peak(bent_run: RunRecord) -> None:
    recovery = analyse(bent_run).recovery
    assert recovery is not None and recovery.seconds is not None
    assert (
        2 <= recovery.seconds <= 12
    )  # about 1,300 requests are queued at the end of the peak, drained at 250 a second


def test_a_target_that_stays_slow_after_its_peak_has_not_recovered(simulate: Simulate) -> None:
    run = simulate([*[100.0] * 10, *[600.0] * 20, *[150.0] * 10])
    recovery = analyse(run).recovery
    assert recovery is not None and recovery.seconds is None
    assert "not recovered within 10 s" in recovery.statement


def test_a_rise_that_nobody_can_feel_is_no_failed_recovery(simulate: Simulate) -> None:
    run = simulate([*[100.0] * 10, *[300.0] * 5, *[100.0] * 20], service_ms=0.4)
    slower = tuple(
        replace(tick, response=Histogram([700_000] * tick.count)) if tick.second >= 15 else tick
        for tick in run.ticks
    )
    recovery = analyse(replace(run, ticks=slower)).recovery
    assert recovery is not None and recovery.seconds == 0


def test_the_bottleneck_is_processor_time_or_waiting_by_what_the_machine_did(simulate: Simulate) -> None:
    run = simulate(RAMP)
    used = [min(rate, 400) / 400 / 2 for rate in RAMP]  # a whole core of two at 400 requests a second

    def told(share: list[float]) -> Bottleneck:
        return analyse(replace(run, others_cpu=tuple(share))).bottleneck

    busy, idle = told(used), told([share * 0.2 for share in used])
    assert busy.kind == "server-cpu" and "processor time" in busy.statement
    assert idle.kind == "server-wait" and idle.series is not None
    elsewhere = told([0.5] * len(RAMP))
    assert elsewhere.kind == "server-wait", "a core that others use all the time accuses nobody"
    assert told([0.99] * len(RAMP)).kind == "unknown", "nothing was left over to tell by"
    within = analyse(replace(run, others_cpu=(0.1,) * 40, generator_cpu=(0.7,) * 40)).bottleneck
    assert within.kind == "unknown" and "this process itself computed" in within.statement
    assert told([0.0] * len(RAMP)).kind == "unknown", "this system does not tell"
    void = analyse(replace(simulate(RAMP), void_reasons=("lag p99 was 9 ms",)))
    assert void.bottleneck.kind == "generator"


def test_the_bottleneck_is_told_by_the_targets_own_processes_where_they_are_known(simulate: Simulate) -> None:
    run = simulate(RAMP)
    load = [min(rate, 340) / 340 for rate in RAMP]

    def told(target: float, busiest: float, others: float) -> Bottleneck:
        """Tell by the cores that were used at full load: of four, by the target and by other programs."""
        measured = {
            "host": {**run.host, "cores": 4},
            "target_cpu": tuple(target * share for share in load),
            "target_busiest": tuple(busiest * share for share in load),
            "others_cpu": tuple((target + others) * share / 4 for share in load),
        }
        return analyse(replace(run, **measured)).bottleneck

    busy = told(1.0, 0.95, 0.0)
    assert busy.kind == "server-cpu" and "the target's own processes used" in busy.statement
    assert told(3.6, 0.5, 0.0).kind == "server-cpu", "eight workers took the whole machine"
    assert told(1.2, 0.15, 0.0).kind == "server-wait", "eight workers, none of them busy"
    elsewhere = told(0.1, 0.1, 1.5)
    assert elsewhere.kind == "server-wait" and "other programs used 0.9 more" in elsewhere.statement
    assert told(0.3, 0.3, 0.0).kind == "server-wait"
    inferred = analyse(replace(run, others_cpu=tuple(share / 2 for share in load))).bottleneck
    assert inferred.kind == "server-cpu" and "all programs but the generator" in inferred.statement


def test_called_for_refusals_are_no_errors_and_do_not_flatter_a_percentile() -> None:
    ticks = [
        Tick(0, "blog", "list", "ok", Histogram([50_000_000] * 500), Histogram([50_000_000] * 500)),
        Tick(0, "blog", "list", "denied", Histogram([100_000] * 9_000), Histogram([100_000] * 9_000)),
        Tick(0, "blog", "list", "shed", Histogram([200_000_000] * 30), Histogram([200_000_000] * 30)),
        Tick(0, "blog", "list", "error", Histogram([900_000_000] * 20), Histogram([900_000_000] * 20)),
    ]
    found = figures(ticks, seconds=2.0)
    assert found.error_rate == pytest.approx(50 / 9_550)
    assert found.denied_rate == pytest.approx(9_000 / 9_550)
    assert found.throughput == 250.0
    assert found.percentile(50).ms == pytest.approx(50, rel=0.01)
    assert found.percentile(95).ms == pytest.approx(200, rel=0.01)
    assert found.percentile(50).samples == 550
    assert found.percentile(99).ms is None, "only five samples lie above it"


def test_phases_and_series_add_up_to_the_whole(bent_run: RunRecord) -> None:
    analysis = analyse(bent_run)
    assert [phase.name for phase, _ in analysis.phases] == ["ramp-up", "peak", "steady", "ramp-down"]
    assert sum(found.requests for _, found in analysis.phases) == analysis.total.requests
    assert sum(found.requests for found in analysis.series.values()) == analysis.total.requests
    assert analysis.total.requests == sum(bent_run.planned)


def test_series_are_in_the_order_of_the_plan_whatever_order_a_history_keeps(simulate: Simulate) -> None:
    plan = [("post-read", ("page", "comments")), ("auth-flow", ("token",))]
    applications = [
        {"name": name, "steps": [{"name": step, "expect": {"p95_ms": None}} for step in steps]}
        for name, steps in plan
    ]
    run = simulate([100.0] * 3)
    run = replace(run, scenario={"applications": applications})  # type: ignore[dict-item]
    sorted_by_name = replace(
        run, ticks=tuple(sorted(run.ticks, key=lambda t: (t.second, t.application, t.step)))
    )
    expected = [(name, step) for name, steps in plan for step in steps]
    assert list(analyse(run).series) == list(analyse(sorted_by_name).series) == expected


def test_status_follows_the_error_rate(simulate: Simulate) -> None:
    assert [health_of(rate) for rate in (0.0, 0.0501, 0.2001, 0.5001)] == [
        "operational", "degraded", "partial outage", "major outage",
    ]  # fmt: skip
    run = analyse(simulate([100.0] * 10, errors=0.15))
    assert run.health == "degraded" and run.incident
    assert not analyse(simulate([100.0] * 10, errors=0.05)).incident


def test_of_a_void_run_nothing_is_concluded_by_littles_law_either(bent_run: RunRecord) -> None:
    unsteady = replace(bent_run, in_flight=tuple(50 * value for value in bent_run.in_flight))
    assert any("Little's law is off" in note for note in analyse(unsteady).notes)
    void = analyse(replace(unsteady, void_reasons=("lag p99 was 9 ms",)))
    assert not any("Little" in note for note in void.notes)


def test_a_closed_or_partial_run_says_so_and_an_empty_one_is_no_error(simulate: Simulate) -> None:
    run = simulate([100.0] * 10)
    notes = " ".join(analyse(replace(run, model="closed", status="partial")).notes)
    assert "under-reported" in notes and "stopped after 9 s" in notes
    cut = " ".join(analyse(replace(run, counters={"cut_sessions": 5, "left_behind": 4, "cleaned": 36})).notes)
    assert "5 sessions were cut short" in cut and "4 of 40 things that the run created" in cut
    one = " ".join(analyse(replace(run, counters={"cut_sessions": 1})).notes)
    assert "1 session was cut short: it was not done when the run ended" in one
    nothing = analyse(replace(run, ticks=(), planned=(), sent=(), done=(), users=(), in_flight=(), phases=()))
    assert nothing.total.requests == 0 and nothing.knee is None and nothing.recovery is None
