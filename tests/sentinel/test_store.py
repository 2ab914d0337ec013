"""The history keeps what it was given, across kills, versions and threads."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentinel.errors import ConfigurationError, RecordError
from sentinel.migrations import MIGRATIONS, migrate
from sentinel.run import RunRecord
from sentinel.store import RunStore, host_hash, key_figures

Simulate = Callable[..., RunRecord]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore(tmp_path / "deep" / "history.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def run(simulate: Simulate) -> RunRecord:
    return simulate([100.0] * 12, errors=0.02, phases=(("steady", 0.0, 12.0),))


def cut(run: RunRecord, seconds: int) -> RunRecord:
    """Give the run as a checkpoint after some seconds would hold it."""
    return replace(
        run,
        status="partial",
        planned=run.planned[:seconds],
        sent=run.sent[:seconds],
        done=run.done[:seconds],
        lag=run.lag[:seconds],
        ticks=tuple(tick for tick in run.ticks if tick.second < seconds),
    )


def test_a_run_comes_back_as_it_was_saved(store: RunStore, run: RunRecord) -> None:
    store.save(run)
    store.flush()
    assert store.load(run.id) == run
    assert store.load("run") == store.load("last") == run, "the beginning of an id is enough"


def test_checkpoints_grow_into_the_finished_run(store: RunStore, run: RunRecord) -> None:
    for seconds in (4, 8):
        store.save(cut(run, seconds))
        store.flush()
        assert store.load(run.id) == cut(run, seconds)
    store.save(run)
    store.flush()
    assert store.load(run.id) == run
    (listed,) = store.runs()
    assert (listed.status, listed.seconds, listed.requests) == ("complete", 12, sum(run.planned))
    assert listed.figures == key_figures(run)


def test_a_killed_process_leaves_its_last_checkpoint_readable(tmp_path: Path, run: RunRecord) -> None:
    path, record = tmp_path / "history.db", tmp_path / "record.json"
    record.write_text(json.dumps(cut(run, 8).to_dict()))
    code = (
        "import json, os, signal, sys\n"
        "from sentinel.run import RunRecord\n"
        "from sentinel.store import RunStore\n"
        "store = RunStore(sys.argv[1])\n"
        "store.save(RunRecord.from_dict(json.load(open(sys.argv[2]))))\n"
        "store.flush()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(path), str(record)], timeout=60, check=False, env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL
    with RunStore(path) as store:
        assert store.load(run.id) == cut(run, 8)
        assert store.runs()[0].status == "partial"


def test_saving_does_not_wait_for_the_disk_and_only_the_newest_state_is_written(
    store: RunStore, run: RunRecord
) -> None:
    blocker = sqlite3.connect(store.path)
    blocker.execute("BEGIN IMMEDIATE")  # the writer cannot commit now
    for seconds in range(2, 12):
        store.save(cut(run, seconds))
    assert store.runs() == ()
    blocker.rollback()
    blocker.close()
    store.save(run)
    store.flush()
    assert store.load(run.id) == run


def test_what_could_not_be_written_is_raised_at_the_flush(store: RunStore, run: RunRecord) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE lags")
    connection.close()
    store.save(run)
    with pytest.raises(RecordError, match=r"history .* cannot be used: no such table: lags"):
        store.flush()
    assert store.runs() == (), "all of a run is written or nothing"


def test_a_checkpoint_that_failed_is_forgiven_once_the_run_is_written(
    store: RunStore, run: RunRecord
) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute(
            "CREATE TRIGGER busy BEFORE INSERT ON runs WHEN NEW.status = 'partial'"
            " BEGIN SELECT RAISE(ABORT, 'not now'); END"
        )
    connection.close()
    store.save(cut(run, 3))
    with pytest.raises(RecordError, match="not now"):
        store.flush()
    store.save(cut(run, 4))
    while store._writer._waiting or store._writer._busy:  # until it has failed, which nobody asks about
        time.sleep(0.001)
    store.save(run)
    store.flush()
    assert store.load(run.id) == run


def test_only_earlier_complete_runs_of_one_plan_and_one_host_are_comparable(
    store: RunStore, run: RunRecord
) -> None:
    def variant(number: int, **changes: Any) -> RunRecord:
        dated = replace(run, id=f"v{number}", started_at=f"2026-01-0{number}T00:00:00+00:00")
        return replace(dated, **changes)

    other_host = {**run.host, "cores": 64}
    for made in (
        variant(1),
        variant(2),
        variant(3, status="partial"),
        variant(4, void_reasons=("lag",)),
        variant(5, host=other_host),
        variant(6, scenario={"name": "other"}, plan_hash="other"),
        variant(9),
    ):
        store.save(made)
    store.flush()
    now = variant(8)
    assert [found.id for found in store.comparable(now)] == ["v1", "v2"]
    assert host_hash(other_host) != host_hash(run.host)


def test_baselines_and_verdicts_are_kept_and_bad_names_refused(store: RunStore, run: RunRecord) -> None:
    store.save(run)
    store.save(replace(cut(run, 4), id="half"))
    store.flush()
    assert store.save_baseline("main", "run-1") == run.id
    assert store.baselines() == {"main": run.id} and store.find("main") == run.id
    with pytest.raises(RecordError, match="half is partial; a baseline must be complete"):
        store.save_baseline("bad", "half")
    with pytest.raises(ConfigurationError, match="not 'last'"):
        store.save_baseline("last", run.id)
    assert store.verdict("main") is None
    store.save_verdict(run.id, 2, "FAILED: too slow", {"checks": ["p95"]})
    assert store.verdict("main") == (2, "FAILED: too slow", {"checks": ["p95"]})
    assert {found.id: found.exit_code for found in store.runs()} == {run.id: 2, "half": None}


def test_an_unknown_or_ambiguous_run_is_named(store: RunStore, run: RunRecord) -> None:
    with pytest.raises(RecordError, match="is empty; make a run first"):
        store.find("last")
    store.save(run)
    store.save(replace(run, id="run-2"))
    store.flush()
    with pytest.raises(RecordError, match=r"2 runs in .* found by 'run'"):
        store.load("run")
    with pytest.raises(RecordError, match=r"no run in .* found by 'nothing'"):
        store.load("nothing")
    with pytest.raises(ConfigurationError, match="limit is 0"):
        store.runs(limit=0)


def test_a_deleted_run_takes_everything_of_it_along_and_can_be_saved_again(
    store: RunStore, run: RunRecord
) -> None:
    store.save(run)
    store.flush()
    store.save_baseline("main", run.id)
    store.save_verdict(run.id, 0, "PASSED")
    store.delete(run.id)
    with sqlite3.connect(store.path) as connection:
        for table in ("runs", "ticks", "lags", "verdicts", "baselines", "configs"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    connection.close()
    store.save(run)
    store.flush()
    assert store.load(run.id) == run


def test_migrations_run_once_in_order_and_a_failed_one_changes_nothing() -> None:
    connection = sqlite3.connect(":memory:")
    steps = ("CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y; CREATE TABLE b (z)")
    assert migrate(connection, steps[:1]) == 1
    connection.execute("INSERT INTO a VALUES (7)")
    connection.commit()
    assert migrate(connection, steps) == 2
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(7, None)]
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*steps, "CREATE TABLE c (w); CREATE TABLE b (again)"))
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'c'").fetchone() == (0,)
    assert migrate(connection, steps) == 2
    connection.close()


def test_a_file_of_a_newer_version_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(RecordError, match="use a newer program"):
        RunStore(newer)
    text = tmp_path / "notes.txt"
    text.write_text("this is no database, it is a text of some length\n" * 40)
    with pytest.raises(RecordError, match="not a history of runs"):
        RunStore(text)


def test_a_closed_history_takes_nothing_more(tmp_path: Path, run: RunRecord) -> None:
    store = RunStore(tmp_path / "history.db")
    store.close()
    store.close()
    with pytest.raises(RecordError, match="it is closed"):
        store.save(run)


def test_a_baseline_is_what_the_latest_runs_are_held_against(store: RunStore, run: RunRecord) -> None:
    for number in range(40):
        store.save(replace(run, id=f"v{number:02}", started_at=f"2026-01-01T00:{number:02}:00+00:00"))
    store.flush()
    now = replace(run, id="now", started_at="2026-01-01T01:00:00+00:00")
    store.save_baseline("main", "v22")
    names = [found.id for found in store.comparable(now, baseline="main")]
    assert names == [f"v{number:02}" for number in (*range(3, 23), 36, 37, 38, 39)]
    assert [found.id for found in store.comparable(now)] == [f"v{number:02}" for number in range(16, 40)]
    store.save_baseline("newest", "v39")
    assert [found.id for found in store.comparable(now, baseline="newest")][-1] == "v39"
    elsewhere = replace(now, host={**run.host, "cores": 64})
    with pytest.raises(RecordError, match=r"baseline 'main' .* is not comparable with run now"):
        store.comparable(elsewhere, baseline="main")
