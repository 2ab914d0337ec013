"""What was heard of a run so far is what a killed run leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentinel.checkpoints import Checkpoints
from sentinel.errors import ConfigurationError
from sentinel.evidence import Limited, evidence, excess_found
from sentinel.histogram import Histogram
from sentinel.observations import ADMITTED, REFUSED, UNKNOWN
from sentinel.oracle import over_admission
from sentinel.promise import Window
from sentinel.recorder import Columns, SecondReport
from sentinel.run import RunRecord, Tick
from sentinel.store import RunStore

Simulate = Callable[..., RunRecord]


def blank(run: RunRecord) -> RunRecord:
    return replace(
        run,
        planned=(),
        sent=(),
        done=(),
        lag=(),
        generator_cpu=(),
        others_cpu=(),
        users=(),
        in_flight=(),
        ticks=(),
        counters={},
        served={},
    )


def heard(run: RunRecord, second: int) -> SecondReport:
    """Report a second as the recorder does: half of its ticks now, half with the next one."""

    def half(tick: Tick, part: int) -> Tick:
        low, _, counts = tick.response.buckets()
        values = [int(v) for v, n in zip(low, counts, strict=True) for _ in range(int(n))][part::2]
        return replace(tick, response=Histogram(values), service=Histogram(values))

    now = [half(tick, 0) for tick in run.ticks if tick.second == second]
    late = [half(tick, 1) for tick in run.ticks if tick.second == second - 1]
    return SecondReport(
        second,
        tuple(tick for tick in (*now, *late) if tick.count),
        {second: run.lag[second]},
        run.planned,
        run.sent,
        run.done[: second + 1],
        run.generator_cpu[second],
        run.others_cpu[second],
        run.users[second],
        run.in_flight[second],
        {"retries": second},
        served={(second, *name): counts[second] for name, counts in run.served.items()},
    )


def test_a_checkpoint_holds_everything_heard_up_to_its_second(tmp_path: Path, simulate: Simulate) -> None:
    run = simulate([60.0] * 9)
    with RunStore(tmp_path / "history.db") as store:
        checkpoints = Checkpoints(store, blank(run), every_s=4)
        for second in range(3):
            checkpoints.second(heard(run, second))
        store.flush()
        assert store.runs() == (), "it is not time yet"
        for second in range(3, 9):
            checkpoints.second(heard(run, second))
        store.flush()
        kept = store.load(run.id)
    assert (kept.status, kept.seconds) == ("partial", 8)
    assert kept.planned == run.planned[:8] and kept.lag == run.lag[:8] and kept.users == run.users[:8]
    assert kept.served == {name: counts[:8] for name, counts in run.served.items()}
    assert kept.counters == {"retries": 7, "checkpoint": 1}
    counted = {second: sum(t.count for t in kept.ticks if t.second == second) for second in range(8)}
    assert all(counted[second] == run.planned[second] for second in range(7)), "late halves were merged in"
    assert 0 < counted[7] < run.planned[7]


def test_a_senseless_interval_is_refused(tmp_path: Path, simulate: Simulate) -> None:
    with RunStore(tmp_path / "h.db") as store, pytest.raises(ConfigurationError, match="every_s is 0"):
        Checkpoints(store, simulate([1.0]), every_s=0)


def test_a_runs_own_requests_are_evidence_per_user() -> None:
    sent = np.arange(8, dtype=np.int64) * 1_000_000
    columns = Columns(
        intended=sent,
        sent=sent,
        done=sent + 200_000,
        series=np.array([0, 0, 0, 0, 1, 1, 0, 0]),
        outcome=np.array([0, 0, 0, 1, 0, 0, 2, 3]),
        status=np.full(8, 200),
        user=np.array([4, 4, 4, 4, 4, 9, 4, 4]),
        retry_after=np.full(8, -1),
        names=(("blog", "list"), ("auth", "token")),
    )
    seen = evidence(columns, Limited("blog", "list"))
    assert (seen.count(ADMITTED), seen.count(REFUSED), seen.count(UNKNOWN)) == (3, 1, 2)
    assert over_admission(seen, Window(2, 1_000_000)).proven == 1
    assert evidence(columns).names == ("user-4", "user-9")
    assert over_admission(evidence(columns, Limited("auth")), Window(1, 1_000_000)).held
    assert evidence(columns, Limited(caller="tenant"), tenants=5).names == ("tenant-4",), "users 4 and 9"
    assert evidence(columns, Limited(caller="everyone")).names == ("everyone-0",)
    found = excess_found(columns, Window(2, 1_000_000), Limited("blog", "list"))
    assert (found.proven, found.requests, found.refused, found.callers) == (1, 6, 1, 1)
