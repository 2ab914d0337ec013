"""Audits and overhead experiments in the history: the same file as the runs, a table of their own.

Each is written twice, in one transaction each: when it begins, as partial, and when it has come to something.
A killed one leaves its beginning, which says that it proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sentinel.errors import ConfigurationError, RecordError
from sentinel.exit_codes import ExitCode
from sentinel.experiment import GOING_ON, Experiment
from sentinel.migrations import UNUSED_CONFIGS
from sentinel.process_mark import ProcessMark
from sentinel.writer import connect, host_hash, make_history

_COLUMNS = (
    "e.id, e.kind, e.target, c.snapshot, e.host, e.started_at, e.status, e.seconds, e.requests, e.exit_code,"
    " e.sentence, e.result FROM experiments e JOIN configs c ON c.hash = e.config_hash"
)
_NEWEST = " ORDER BY e.started_at DESC, e.rowid DESC LIMIT ?"


class ExperimentStore:
    """Keep audits and overhead experiments in a history.

    `path` is created if it does not exist. Raises RecordError for a file that a newer version wrote or that
    is no history.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        make_history(self.path)

    def save(self, experiment: Experiment) -> None:
        """Write an experiment, begun or ended, and wait until it is on disk."""
        one = experiment
        with connect(self.path) as connection, connection:
            connection.execute(
                "INSERT OR IGNORE INTO configs (hash, snapshot) VALUES (?, ?)",
                (one.config_hash, json.dumps(one.config, sort_keys=True)),
            )
            connection.execute(
                "INSERT OR REPLACE INTO experiments (id, kind, target, config_hash, host_hash, host,"
                " started_at, saved_at, status, seconds, requests, exit_code, sentence, result)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    one.id,
                    one.kind,
                    one.target,
                    one.config_hash,
                    host_hash(one.host),
                    json.dumps(one.host),
                    one.started_at,
                    datetime.now(UTC).isoformat(timespec="seconds"),
                    one.status,
                    one.seconds,
                    one.requests,
                    one.exit_code,
                    one.sentence,
                    json.dumps(one.result if one.exit_code is not None else _begun()),
                ),
            )

    @contextmanager
    def keeping(self, experiment: Experiment) -> Iterator[Callable[[Experiment], None]]:
        """Keep an experiment from its beginning; the block is given what saves its end.

        One that raises an error never was: a dead target is no result. One that is stopped or killed stays,
        as partial.
        """
        self.save(experiment)
        try:
            yield self.save
        except Exception:
            with suppress(RecordError):  # what went wrong first is what is told
                self.delete(experiment.id)
            raise

    def latest(self, *, limit: int = 50) -> tuple[Experiment, ...]:
        """List experiments, newest first."""
        if limit < 1:
            raise ConfigurationError(f"limit is {limit}; it must be at least 1 experiment")
        with connect(self.path) as connection:
            rows = connection.execute(f"SELECT {_COLUMNS}{_NEWEST}", (limit,)).fetchall()
        return tuple(_experiment(row) for row in rows)

    def find(self, name: str) -> Experiment | None:
        """Find an experiment by its id or the beginning of it, or the newest of all that is kept by "last".

        Returns None where `name` is no experiment's; a run or a baseline of just that name comes first.
        Raises RecordError for a beginning that several share.
        """
        with connect(self.path) as connection:
            if name == "last":
                newer = " WHERE e.started_at >= (SELECT coalesce(max(started_at), '') FROM runs)"
                rows = connection.execute(f"SELECT {_COLUMNS}{newer}{_NEWEST}", (1,)).fetchall()
            else:
                rows = connection.execute(
                    f"SELECT {_COLUMNS} WHERE e.id = ?1 OR (substr(e.id, 1, ?2) = ?1 AND NOT EXISTS"
                    " (SELECT 1 FROM runs WHERE id = ?1 UNION SELECT 1 FROM baselines WHERE name = ?1))",
                    (name, max(len(name), 1)),
                ).fetchall()
        if len(rows) > 1:
            raise RecordError(
                f"{len(rows)} experiments in {self.path} found by {name!r}; "
                "`sentinel history` lists their ids"
            )
        return _experiment(rows[0]) if rows else None

    def delete(self, identity: str) -> None:
        """Delete an experiment, and its settings if nothing else was made with them."""
        with connect(self.path) as connection, connection:
            connection.execute("DELETE FROM experiments WHERE id = ?", (identity,))
            connection.execute(UNUSED_CONFIGS)


def _begun() -> dict[str, int]:
    """Give what is kept in place of a result that is not there yet: who makes it."""
    mark = ProcessMark.own()
    return {"pid": mark.pid, "pid_started": mark.started}


def _experiment(row: tuple) -> Experiment:  # type: ignore[type-arg]  # as SQLite hands it over
    identity, kind, target, config, host, started, status, seconds, requests, code, sentence, result = row
    try:
        found = json.loads(result)
        if code is None and "pid" in found:
            alive = ProcessMark(found["pid"], found["pid_started"]).alive
            sentence, found = GOING_ON if alive else sentence, {}
        return Experiment(
            identity,
            kind,
            target,
            json.loads(config),
            json.loads(host),
            started,
            status,
            seconds,
            requests,
            None if code is None else ExitCode(code),
            sentence,
            found,
        )
    except ValueError as error:
        raise RecordError(f"experiment {identity} is damaged: {error}") from None
