"""What was heard of a run so far is what a killed run leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from sentinel.process_mark import ProcessMark
from sentinel.promise import Window
from sentinel.recorder import Columns, SecondReport
from sentinel.run import RunRecord, Tick
from sentinel.store import RunStore
from sentinel.verdict import stopped_words

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
    assert kept.counters == {"retries": 7, "checkpoint": 1, "running": 1}, "the process that makes it lives"
    counted = {second: sum(t.count for t in kept.ticks if t.second == second) for second in range(8)}
    assert all(counted[second] == run.planned[second] for second in range(7)), "late halves were merged in"
    assert 0 < counted[7] < run.planned[7]


MAKER = """
import json, sys
from sentinel.checkpoints import Checkpoints
from sentinel.recorder import SecondReport
from sentinel.run import RunRecord
from sentinel.store import RunStore
from sentinel.verdict import stopped_words
store = RunStore(sys.argv[1])
made = Checkpoints(store, RunRecord.from_dict(json.loads(sys.stdin.readline())), every_s=1)
made.second(SecondReport(0, (), {}, (5,), (5,), (5,), 0.1, 0.1, 1.0, 1.0, {}))
store.flush()
print("saved", flush=True)
sys.stdin.read()
"""


def test_a_run_that_goes_on_is_told_from_one_that_was_killed(tmp_path: Path, simulate: Simulate) -> None:
    path, run = tmp_path / "history.db", blank(simulate([60.0] * 9))
    command = [sys.executable, "-c", MAKER, str(path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker,
        RunStore(path) as store,
    ):
        assert maker.stdin is not None and maker.stdout is not None
        maker.stdin.write(json.dumps(run.to_dict()) + "\n")
        maker.stdin.flush()
        assert maker.stdout.readline() == "saved\n"
        assert store.runs()[0].running
        assert "still going on, the first 1 " in stopped_words(store.load(run.id))
        maker.kill()
        os.waitid(os.P_PID, maker.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet missed by its parent
        assert not store.runs()[0].running
        assert "was killed, only the first 1 " in stopped_words(store.load(run.id))
    assert not ProcessMark(maker.pid, 0).alive


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
