"""The thread that writes runs into the history, so that no commit stalls the load.

The newest state of a run replaces one that still waits, and only ticks that changed are written, all in one
transaction.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sentinel.errors import RecordError
from sentinel.figures import of_run
from sentinel.migrations import migrate
from sentinel.run import RunRecord, Tick

_UNUSABLE = (
    "history {path} cannot be used: {error}; name another file with --db, or keep nothing with --no-save"
)
PATIENCE_S = 10.0  # for others who use the same history
_BULKY = ("ticks", "lag", "scenario")
_Key = tuple[int, str, str, str]


def host_hash(host: Mapping[str, str | int]) -> str:
    """Give the fingerprint of a machine: runs of one fingerprint are comparable.

    >>> host_hash({"cores": 2, "os": "Linux"}) == host_hash({"os": "Linux", "cores": 2})
    True
    """
    return hashlib.sha256(json.dumps(dict(host), sort_keys=True).encode()).hexdigest()


def key_figures(record: RunRecord) -> dict[str, float | None]:
    """Compute the figures that runs are compared by, latencies in milliseconds."""
    found = of_run(record, record.ticks)
    named: dict[str, float | None] = {f"p{p:g}_ms": found.percentile(p).ms for p in (50.0, 95.0, 99.0)}
    return {**named, "error_rate": found.error_rate, "throughput": found.throughput}


def make_history(path: Path) -> None:
    """Make the history if it is not there, of the newest version; raise RecordError where it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(_UNUSABLE.format(path=path, error=error)) from error
    check_ours(path)
    with connect(path, make=True) as connection:
        migrate(connection)


def check_ours(path: Path) -> None:
    """Refuse an SQLite file that somebody else's tables are in, before a byte of it is changed."""
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with closing(_opened(path, "ro")) as connection:
            connection.execute("BEGIN")  # so that both are read of one state
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = {
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
    except sqlite3.DatabaseError:
        return  # whoever uses it tells what is wrong
    if tables and not (version and tables >= {"configs", "runs"}):
        some = ", ".join(sorted(tables)[:3])
        raise RecordError(f"{path} is not a history of runs: it is a database with the tables {some}")


@contextmanager
def connect(path: Path, *, make: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the history for one piece of work; raise RecordError for a file of another kind or none.

    make: whether it is made where there is none. Whatever SQLite finds wrong during the work is a RecordError
    with the file's name as well.
    """
    try:
        with closing(_opened(path, "rwc" if make else "rw")) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise RecordError(f"{path} is not a history of runs: {error}") from error
        gone = "" if make or path.exists() else " (it is not there any more)"
        raise RecordError(_UNUSABLE.format(path=path, error=f"{error}{gone}")) from error


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    """Connect to a history; what nobody is to make is not left behind as an empty file."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=PATIENCE_S)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Have changes logged first. SQLite does not wait for others who do the same with a new file at once."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class RunWriter:
    """Write runs in a thread of its own; errors surface at the next flush."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = threading.Condition()
        self._waiting: dict[str, RunRecord] = {}
        self._busy = False
        self._closing = False
        self._failures: dict[str, Exception] = {}  # of runs whose latest state is not on disk
        self._written: dict[str, dict[_Key, int]] = {}
        self._thread = threading.Thread(target=self._write_all, name="sentinel-history", daemon=True)
        self._thread.start()

    def forget(self, run_id: str) -> None:
        """Forget what was written of a run, because it was deleted."""
        self._written.pop(run_id, None)

    def save(self, record: RunRecord) -> None:
        """Hand a run, finished or not, to the writer; a state of it that still waits is replaced."""
        with self._changed:
            if self._closing:
                raise RecordError(f"history {self.path}: it is closed, run {record.id} cannot be saved")
            self._waiting[record.id] = record
            self._changed.notify_all()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything saved so far is on disk; raise RecordError if it could not be written."""
        with self._changed:
            done = self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout_s)
            failures, self._failures = self._failures, {}
        for failure in failures.values():
            if isinstance(failure, RecordError):
                raise failure
            raise RecordError(f"history {self.path}: could not be written: {failure}") from failure
        if not done:
            raise RecordError(f"history {self.path}: not written within {timeout_s:g} s")

    def close(self) -> None:
        """Write what waits and end the thread."""
        if self._closing:
            return
        try:
            self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch, self._waiting, self._busy = self._waiting, {}, True
            failure: Exception | None = None
            try:
                with connect(self.path) as connection, connection:
                    written = {record.id: self._write(connection, record) for record in batch.values()}
                for run_id, counts in written.items():  # only now is it certain
                    self._written.setdefault(run_id, {}).update(counts)
            except (sqlite3.Error, OSError, ValueError, TypeError) as error:
                failure = error
            with self._changed:
                self._busy = False
                for run_id in batch:  # a state that is written has all that earlier ones had
                    if failure is None:
                        self._failures.pop(run_id, None)
                    else:
                        self._failures[run_id] = failure
                self._changed.notify_all()

    def _write(self, connection: sqlite3.Connection, record: RunRecord) -> dict[_Key, int]:
        head = {
            name: value
            for name, value in replace(record, ticks=(), lag=()).to_dict().items()
            if name not in _BULKY
        }
        connection.execute(
            "INSERT OR IGNORE INTO configs (hash, snapshot) VALUES (?, ?)",
            (record.plan_hash, json.dumps(record.scenario, sort_keys=True)),
        )
        connection.execute(
            "INSERT INTO runs (id, name, plan_hash, host_hash, started_at, saved_at, status, void, seconds,"
            " requests, figures, head) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET saved_at = excluded.saved_at, status = excluded.status, void = excluded.void,"
            " seconds = excluded.seconds, requests = excluded.requests, figures = excluded.figures,"
            " head = excluded.head",
            (
                record.id,
                str(record.scenario.get("name", "")),
                record.plan_hash,
                host_hash(record.host),
                record.started_at,
                datetime.now(UTC).isoformat(timespec="seconds"),
                record.status,
                record.void,
                record.seconds,
                sum(tick.count for tick in record.ticks),
                json.dumps(key_figures(record)),
                json.dumps(head),
            ),
        )
        known = self._written.get(record.id, {})
        fresh = [tick for tick in record.ticks if known.get(_key(tick)) != tick.count]
        connection.executemany(
            "INSERT OR REPLACE INTO ticks (run, second, application, step, outcome, response, service)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(record.id, *_key(tick), tick.response.to_bytes(), tick.service.to_bytes()) for tick in fresh],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO lags (run, second, lag) VALUES (?, ?, ?)",
            [(record.id, second, lag.to_bytes()) for second, lag in enumerate(record.lag)],
        )
        return {_key(tick): tick.count for tick in fresh}


def _key(tick: Tick) -> _Key:
    return tick.second, tick.application, tick.step, tick.outcome
