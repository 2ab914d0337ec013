"""What other programs on the machine do to latency is not said of the target."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from sentinel.analysis import analyse
from sentinel.histogram import Histogram
from sentinel.neighbours import neighbours, quiet
from sentinel.run import RunRecord

Simulate = Callable[..., RunRecord]
RISING = np.linspace(20, 260, 60).tolist()
PEAK = range(60, 120)


def disturbed(run: RunRecord, noisy: Iterable[int], *, others: float, known: bool = True) -> RunRecord:
    """Slow a run down threefold in seconds in which others took a share of the machine, else 5 %."""
    slow = frozenset(noisy)
    ticks = tuple(
        replace(tick, response=Histogram([3 * round(tick.response.mean or 0)] * tick.count))
        if tick.second in slow
        else tick
        for tick in run.ticks
    )
    target = tuple(0.2 * rate / max(run.planned) for rate in run.planned) if known else ()
    used = tuple(
        (others if at in slow else 0.05) + (target[at] / 2 if known else 0.0) for at in range(run.seconds)
    )
    return replace(run, ticks=ticks, others_cpu=used, target_cpu=target, target_busiest=target)


@pytest.fixture(scope="module")
def steady(simulate: Simulate) -> RunRecord:
    """A ramp and a minute at its highest load, far below capacity, and half a minute of less."""
    return simulate([*RISING, *[260.0] * len(PEAK), *[120.0] * 30])


@pytest.mark.parametrize("known", [True, False])
def test_a_noisy_neighbour_at_constant_load_makes_no_knee(steady: RunRecord, known: bool) -> None:
    for noisy in (range(60, 75), range(75, 100), range(60, 100)):
        found = analyse(disturbed(steady, noisy, others=0.8, known=known))
        assert found.knee is None and found.bottleneck.kind in ("none", "unknown"), noisy
        assert "no knee" in found.knee_statement or "unknown" in found.knee_statement


def test_a_peak_during_which_others_were_busy_all_the_time_leaves_the_knee_unknown(steady: RunRecord) -> None:
    found = analyse(disturbed(steady, range(50, 120), others=0.8))
    assert found.knee is None and found.bottleneck.kind == "unknown"
    assert "knee unknown: the p95 rises from" in found.knee_statement
    assert "other programs used 79% of the machine then" in found.knee_statement
    assert "other programs" in found.bottleneck.statement
    assert found.recovery is None, "whether the peak slowed it down is unknown as well"


def test_at_one_and_the_same_rate_a_higher_p95_at_other_seconds_is_no_knee(steady: RunRecord) -> None:
    """A third of the peak is slow, of which nobody knows why."""
    found = analyse(disturbed(steady, range(60, 80), others=0.05))
    assert found.knee is None and found.knee_statement.startswith("no knee from ")


def test_a_true_knee_is_found_with_quiet_neighbours_and_with_some_noise(simulate: Simulate) -> None:
    run = simulate(np.linspace(20, 520, 60).tolist())
    for noisy in ((), range(20, 24), range(45, 49)):
        found = analyse(disturbed(run, noisy, others=0.8))
        assert found.knee is not None and found.knee.confirmed, noisy
        assert 300 <= found.knee.offered <= 460
        assert "other programs" not in found.knee.statement
    always = analyse(disturbed(run, (), others=0.0))
    assert always.knee is not None
    loud = analyse(replace(run, others_cpu=(0.6,) * run.seconds, target_cpu=(0.1,) * run.seconds))
    assert loud.knee is not None and "other programs used 55% of the machine then" in loud.knee.statement


def test_others_that_leave_a_core_idle_hold_nobody_up(steady: RunRecord) -> None:
    run = disturbed(steady, PEAK, others=0.6)
    assert quiet(run, PEAK, range(30)) == []
    wide = replace(run, host={**run.host, "cores": 8})
    assert quiet(wide, PEAK, range(30)) == list(PEAK)


def test_the_targets_own_use_is_taken_off_unless_others_send_as_well(steady: RunRecord) -> None:
    run = replace(steady, others_cpu=(0.5,) * steady.seconds, target_cpu=(0.6,) * steady.seconds)
    assert neighbours(run)[0] == pytest.approx(0.2)
    assert neighbours(replace(run, counters={"merged": 2}))[0] == 0.5
    assert neighbours(replace(run, target_cpu=()))[0] == 0.5


def test_a_peak_that_slowed_nothing_down_needs_no_recovery(steady: RunRecord) -> None:
    """What is slow after it is so by others, or later and for reasons of its own."""
    found = analyse(disturbed(steady, range(125, 140), others=0.8)).recovery
    assert found is not None and found.seconds == 0 and "the peak slowed nothing down" in found.statement


def test_a_sentence_on_part_of_the_peak_says_of_which(steady: RunRecord) -> None:
    whole = analyse(steady).recovery
    part = analyse(disturbed(steady, range(80, 95), others=0.8)).recovery
    assert whole is not None and " ms in it, " in whole.statement
    assert part is not None and part.seconds == 0
    assert "s in which other programs took no more than before, " in part.statement


def test_a_recovery_is_not_delayed_by_others(bent_run: RunRecord) -> None:
    plain = analyse(bent_run).recovery
    noisy = analyse(disturbed(bent_run, range(75, 85), others=0.8)).recovery
    assert plain is not None and noisy is not None
    assert noisy.seconds is not None and noisy.seconds == pytest.approx(plain.seconds, abs=2)
