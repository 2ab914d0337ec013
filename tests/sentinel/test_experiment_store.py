"""Audits and overhead experiments are kept beside the runs, whole or as begun, whatever ends the process."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sentinel.errors import ConfigurationError, RecordError, TargetError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import GOING_ON, Experiment
from sentinel.experiment_store import ExperimentStore
from sentinel.migrations import MIGRATIONS, migrate
from sentinel.run import RunRecord
from sentinel.store import RunStore
from sentinel.writer import make_history

Simulate = Callable[..., RunRecord]


@pytest.fixture
def store(tmp_path: Path) -> ExperimentStore:
    return ExperimentStore(tmp_path / "deep" / "history.db")


@pytest.fixture
def begun() -> Experiment:
    return Experiment.begin("audit", "memory:", {"seed": 0, "promise": {"limit": 5, "burst": None}})


def count(store: ExperimentStore, table: str) -> int:
    with sqlite3.connect(store.path) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(found)


def test_an_experiment_comes_back_as_it_was_saved(store: ExperimentStore, begun: Experiment) -> None:
    store.save(begun)
    going_on = replace(begun, sentence=GOING_ON)
    assert store.find(begun.id) == going_on == store.find("last"), "the process that makes it lives"
    ended = begun.concluded({"state": "kept"}, ExitCode.PASS, "KEPT: nothing", requests=7)
    store.save(ended)
    assert store.find(begun.id[:-2]) == ended and store.latest() == (ended,)
    assert ended.config_hash == begun.config_hash and ended.exit_code is ExitCode.PASS


def test_what_raises_was_never_begun_and_what_is_stopped_stays_as_partial(
    store: ExperimentStore, begun: Experiment
) -> None:
    with pytest.raises(TargetError), store.keeping(begun):
        raise TargetError("nobody there")
    assert store.latest() == () and count(store, "configs") == 0
    with pytest.raises(KeyboardInterrupt), store.keeping(begun):
        raise KeyboardInterrupt
    assert [one.status for one in store.latest()] == ["partial"]
    with store.keeping(begun) as save:
        save(begun.concluded({}, ExitCode.VOID, "VOID: nothing", requests=0))
    assert [one.status for one in store.latest()] == ["complete"]


def test_a_killed_process_leaves_a_readable_history(tmp_path: Path, begun: Experiment) -> None:
    path = tmp_path / "history.db"
    code = (
        "import os, signal, sys\n"
        "from sentinel.experiment import Experiment\n"
        "from sentinel.experiment_store import ExperimentStore\n"
        "with ExperimentStore(sys.argv[1]).keeping(Experiment.begin('audit', 'memory:', {})):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    store = ExperimentStore(path)
    (left,) = store.latest()
    assert left.status == "partial" and left.exit_code is None and "proves nothing" in left.sentence
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    store.save(begun)
    assert len(store.latest()) == 2


def test_a_history_of_the_first_version_keeps_its_runs_and_takes_experiments(
    tmp_path: Path, begun: Experiment, simulate: Simulate
) -> None:
    path, run = tmp_path / "history.db", simulate([100.0] * 3)
    with RunStore(path) as runs:
        runs.save(run)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE experiments")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = ExperimentStore(path)
    store.save(begun)
    assert store.latest() == (replace(begun, sentence=GOING_ON),)
    with RunStore(path) as runs:
        assert runs.load(run.id) == run
        runs.delete(run.id)
    assert store.latest() == (replace(begun, sentence=GOING_ON),) and count(store, "configs") == 1, (
        "settings still in use stay"
    )
    fresh = sqlite3.connect(":memory:")
    assert migrate(fresh) == len(MIGRATIONS) == 2
    fresh.close()


def test_many_processes_may_make_and_use_one_history_at_once(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    code = (
        "import sys\n"
        "from sentinel.experiment import Experiment\n"
        "from sentinel.experiment_store import ExperimentStore\n"
        "from sentinel.exit_codes import ExitCode\n"
        "sys.stdin.readline()\n"
        "begun = Experiment.begin('audit', 'memory:', {})\n"
        "with ExperimentStore(sys.argv[1]).keeping(begun) as save:\n"
        "    save(begun.concluded({}, ExitCode.PASS, 'KEPT: all', requests=1))\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0
    assert [one.status for one in ExperimentStore(path).latest()] == ["complete"] * 6


def test_whoever_makes_a_history_while_others_do_waits_for_them(tmp_path: Path) -> None:
    """SQLite itself refuses at once whoever changes a new file's journal while another does."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            path, together = tmp_path / f"{number}.db", threading.Barrier(8)

            def make(path: Path = path, together: threading.Barrier = together) -> None:
                together.wait(20)
                make_history(path)

            for made in [pool.submit(make) for _ in range(8)]:
                made.result(60)


def test_names_are_resolved_beside_the_runs(
    store: ExperimentStore, begun: Experiment, simulate: Simulate
) -> None:
    assert store.find("last") is None and store.find("") is None
    store.save(begun)
    store.save(replace(begun, id=begun.id + "x"))
    with pytest.raises(RecordError, match=r"2 experiments in .* found by 'audit'"):
        store.find("audit")
    with RunStore(store.path) as runs:
        runs.save(replace(simulate([100.0] * 3), started_at="2999-01-01T00:00:00+00:00"))
        runs.flush()
        runs.save_baseline("audit-", "run-1")
        with pytest.raises(RecordError, match="an audit or an overhead experiment is no run"):
            runs.save_baseline("mine", begun.id)
    assert store.find("last") is None, "the run is newer"
    assert store.find("audit-") is None, "a baseline of just that name comes first"
    assert store.find("nothing") is None
    with pytest.raises(ConfigurationError, match="limit is 0"):
        store.latest(limit=0)


def test_a_damaged_row_is_named(store: ExperimentStore, begun: Experiment) -> None:
    store.save(begun)
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE experiments SET result = 'not json'")
    connection.close()
    with pytest.raises(RecordError, match=f"experiment {begun.id} is damaged"):
        store.latest()


def test_a_history_that_cannot_be_written_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "history.db", tmp_path):
        for kind in (ExperimentStore, RunStore):
            with pytest.raises(RecordError, match=f"history {path} cannot be used: .*--db, or .*--no-save"):
                kind(path)


def test_secrets_stay_out_of_what_is_kept(store: ExperimentStore) -> None:
    store.save(Experiment.begin("audit", "rediss://ann:hunter2@cache:6380/0", {}))
    assert b"hunter2" not in b"".join(file.read_bytes() for file in store.path.parent.iterdir())
    assert json.loads(json.dumps(store.latest()[0].config))["target"] == "rediss://***@cache:6380/0"
