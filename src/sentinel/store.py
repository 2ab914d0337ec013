"""Runs in the history, one SQLite file: runs, ticks, configurations, verdicts, baselines.

A run may be saved as often as one likes while it goes on, so a killed run is as readable as its last
checkpoint. Reading and names live here, writing in `writer`, tables in `migrations`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import cast

from sentinel.baseline import BEFORE, LATEST
from sentinel.errors import ConfigurationError, RecordError
from sentinel.histogram import Histogram
from sentinel.migrations import UNUSED_CONFIGS
from sentinel.process_mark import ProcessMark
from sentinel.run import Json, JsonObject, RunRecord, Tick
from sentinel.writer import RunWriter, connect, host_hash, key_figures, make_history

__all__ = ["CHECKPOINT_EVERY_S", "RunStore", "RunSummary", "host_hash", "key_figures"]

CHECKPOINT_EVERY_S = 30.0
EXPERIMENTS = ("audit-", "overhead-")  # what their ids begin with


@dataclass(frozen=True, slots=True)
class RunSummary:
    """List one stored run; `figures` has p50_ms, p95_ms, p99_ms, error_rate and throughput (None: too few
    samples). `running`: a partial one that still goes on."""

    id: str
    name: str
    started_at: str
    status: str
    void: bool
    seconds: int
    requests: int
    plan_hash: str
    host_hash: str
    figures: Mapping[str, float | None]
    exit_code: int | None
    running: bool = False


class RunStore:
    """Keep runs, their ticks, configurations, verdicts and baselines.

    `path` is created if it does not exist. Raises RecordError for a file that a newer version wrote or that
    is no history. `save` returns at once; `flush` waits until everything saved is on disk and raises what
    went wrong there. Reading methods see what has been flushed. Close it, or use it as a context manager.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        make_history(self.path)
        self._writer = RunWriter(self.path)

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- writing
    # -----------------------------------------------------------------------------------------------------

    def save(self, record: RunRecord) -> None:
        """Hand a run, finished or not, to the writer; a state of it that still waits is replaced."""
        self._writer.save(record)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything saved so far is on disk; raise RecordError if it could not be written."""
        self._writer.flush(timeout_s)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._writer.close()

    # --- reading
    # -----------------------------------------------------------------------------------------------------

    def runs(
        self, *, limit: int = 50, plan_hash: str | None = None, host: str | None = None
    ) -> tuple[RunSummary, ...]:
        """List runs, newest first, of one plan or one host fingerprint if given."""
        if limit < 1:
            raise ConfigurationError(f"limit is {limit}; it must be at least 1 run")
        with connect(self.path) as connection:
            rows = connection.execute(
                "SELECT r.id, r.name, r.started_at, r.status, r.void, r.seconds, r.requests, r.plan_hash,"
                " r.host_hash, r.figures, v.exit_code, CASE r.status WHEN 'partial' THEN r.head END"
                " FROM runs r LEFT JOIN verdicts v ON v.run = r.id"
                " WHERE (?1 IS NULL OR r.plan_hash = ?1) AND (?2 IS NULL OR r.host_hash = ?2)"
                " ORDER BY r.started_at DESC, r.rowid DESC LIMIT ?3",
                (plan_hash, host, limit),
            ).fetchall()
        return tuple(_summary(row) for row in rows)

    def comparable(self, record: RunRecord, *, baseline: str | None = None) -> tuple[RunSummary, ...]:
        """List the runs a run may be compared with, oldest first, at most 24.

        They are earlier, complete, not void, of the same plan and the same host. With a baseline they are
        that run, up to 19 before it, and the last four since: then the latest five are held against the
        baseline's own time, however slowly things have got worse. Raises RecordError for a baseline of
        another plan or host.
        """
        found = self.runs(limit=100_000, plan_hash=record.plan_hash, host=host_hash(record.host))
        kept = [
            run
            for run in found
            if run.status == "complete"
            and not run.void
            and run.id != record.id
            and run.started_at <= record.started_at
        ]
        if baseline is None:
            return tuple(reversed(kept[: BEFORE + LATEST - 1]))
        wanted = self.find(baseline)
        place = next((number for number, run in enumerate(kept) if run.id == wanted), None)
        if place is None:
            raise RecordError(
                f"baseline {baseline!r} ({wanted}) is not comparable with run {record.id}: it must be "
                "earlier, of the same plan and made on the same host"
            )
        return tuple(reversed([*kept[: min(place, LATEST - 1)], *kept[place : place + BEFORE]]))

    def find(self, name: str) -> str:
        """Resolve a run by its id, the beginning of its id, a baseline's name, or "last"; raise RecordError
        if unclear."""
        with connect(self.path) as connection:
            if name == "last":
                newest = connection.execute(
                    "SELECT id FROM runs ORDER BY started_at DESC, rowid DESC LIMIT 1"
                ).fetchone()
                if newest is None:
                    raise RecordError(f"history {self.path} is empty; make a run first")
                return cast(str, newest[0])
            rows = (
                connection.execute(
                    "SELECT id FROM runs WHERE id = ?1 UNION SELECT run FROM baselines WHERE name = ?1",
                    (name,),
                ).fetchall()
                or connection.execute(
                    "SELECT id FROM runs WHERE substr(id, 1, ?) = ?", (len(name), name)
                ).fetchall()
            )
        if len(rows) != 1:
            what = "no run" if not rows else f"{len(rows)} runs"
            also = " (an audit or an overhead experiment is no run)" if name.startswith(EXPERIMENTS) else ""
            raise RecordError(
                f"{what} in {self.path} found by {name!r}{also}; `sentinel history` lists their ids"
            )
        return cast(str, rows[0][0])

    def load(self, run: str) -> RunRecord:
        """Read a run back; raise RecordError when it does not exist or is damaged."""
        run_id = self.find(run)
        with connect(self.path) as connection:
            row = connection.execute(
                "SELECT r.head, c.snapshot FROM runs r JOIN configs c ON c.hash = r.plan_hash WHERE r.id = ?",
                (run_id,),
            ).fetchone()
            if row is None:
                raise RecordError(
                    f"run {run_id} in {self.path} has lost its configuration; the file is damaged"
                )
            ticks = connection.execute(
                "SELECT second, application, step, outcome, response, service FROM ticks WHERE run = ?"
                " ORDER BY second, application, step, outcome",
                (run_id,),
            ).fetchall()
            lags = connection.execute(
                "SELECT lag FROM lags WHERE run = ? ORDER BY second", (run_id,)
            ).fetchall()
        head = cast(JsonObject, json.loads(row[0]))
        bulk: dict[str, Json] = {"scenario": json.loads(row[1]), "ticks": [], "lag": []}
        record = RunRecord.from_dict({**head, **bulk})
        return replace(
            record,
            counters=_as_of_now(record.counters),
            ticks=tuple(
                Tick(
                    second,
                    application,
                    step,
                    outcome,
                    Histogram.from_bytes(response),
                    Histogram.from_bytes(service),
                )
                for second, application, step, outcome, response, service in ticks
            ),
            lag=tuple(Histogram.from_bytes(lag) for (lag,) in lags),
        )

    # --- verdicts and baselines
    # --------------------------------------------------------------------------------------

    def save_verdict(self, run: str, exit_code: int, sentence: str, detail: JsonObject | None = None) -> None:
        """Keep the verdict of a run; a later one replaces it."""
        run_id = self.find(run)
        with connect(self.path) as connection, connection:
            connection.execute(
                "INSERT OR REPLACE INTO verdicts (run, exit_code, sentence, detail) VALUES (?, ?, ?, ?)",
                (run_id, int(exit_code), sentence, json.dumps(detail or {})),
            )

    def verdict(self, run: str) -> tuple[int, str, JsonObject] | None:
        """Return exit code, sentence and detail of a run's verdict; None if it has none."""
        with connect(self.path) as connection:
            row = connection.execute(
                "SELECT exit_code, sentence, detail FROM verdicts WHERE run = ?", (self.find(run),)
            ).fetchone()
        return None if row is None else (row[0], row[1], json.loads(row[2]))

    def save_baseline(self, name: str, run: str) -> str:
        """Name a complete run as a baseline and return its id; raise RecordError for a partial or void
        one."""
        if not name or name == "last" or len(name) > 100:
            raise ConfigurationError(f"baseline name is {name!r}; use 1 to 100 characters, and not 'last'")
        run_id = self.find(run)
        with connect(self.path) as connection, connection:
            status, void = connection.execute(
                "SELECT status, void FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
            if status != "complete" or void:
                raise RecordError(
                    f"run {run_id} is {'void' if void else status}; a baseline must be complete and not void"
                )
            connection.execute("INSERT OR REPLACE INTO baselines (name, run) VALUES (?, ?)", (name, run_id))
        return run_id

    def baselines(self) -> Mapping[str, str]:
        """List baselines: name to run id."""
        with connect(self.path) as connection:
            return dict(connection.execute("SELECT name, run FROM baselines ORDER BY name").fetchall())

    def delete(self, run: str) -> None:
        """Delete a run and all that belongs to it."""
        run_id = self.find(run)
        with connect(self.path) as connection, connection:
            connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            connection.execute(UNUSED_CONFIGS)
        self._writer.forget(run_id)


def _as_of_now(counters: Mapping[str, int]) -> Mapping[str, int]:
    """Replace the mark of the process that made a checkpoint by whether it still goes on: "running"."""
    if "pid" not in counters:
        return counters
    kept = {name: count for name, count in counters.items() if name not in ("pid", "pid_started")}
    alive = ProcessMark(counters["pid"], counters.get("pid_started", 0)).alive
    return {**kept, "running": 1} if alive else kept


def _summary(
    row: tuple[str, str, str, str, int, int, int, str, str, str, int | None, str | None],
) -> RunSummary:
    identity, name, started_at, status, void, seconds, requests, plan, host, found, exit_code, head = row
    counters = json.loads(head)["counters"] if head else {}
    return RunSummary(
        identity,
        name,
        started_at,
        status,
        bool(void),
        seconds,
        requests,
        plan,
        host,
        json.loads(found),
        exit_code,
        bool(_as_of_now(counters).get("running")),
    )
