"""The tables of the history and how an older file becomes a newer one, counted in SQLite's own
`user_version`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sentinel.errors import RecordError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE configs (hash TEXT PRIMARY KEY, snapshot TEXT NOT NULL) STRICT;
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        plan_hash TEXT NOT NULL REFERENCES configs (hash),
        host_hash TEXT NOT NULL,
        started_at TEXT NOT NULL,
        saved_at TEXT NOT NULL,
        status TEXT NOT NULL,
        void INTEGER NOT NULL,
        seconds INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        figures TEXT NOT NULL,
        head TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_plan ON runs (plan_hash, host_hash, started_at);
    CREATE TABLE ticks (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        second INTEGER NOT NULL,
        application TEXT NOT NULL,
        step TEXT NOT NULL,
        outcome TEXT NOT NULL,
        response BLOB NOT NULL,
        service BLOB NOT NULL,
        PRIMARY KEY (run, second, application, step, outcome)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE lags (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        second INTEGER NOT NULL,
        lag BLOB NOT NULL,
        PRIMARY KEY (run, second)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE verdicts (
        run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        exit_code INTEGER NOT NULL,
        sentence TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE TABLE baselines (
        name TEXT PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE
    ) STRICT;
    """,
    """
    CREATE TABLE experiments (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        config_hash TEXT NOT NULL REFERENCES configs (hash),
        host_hash TEXT NOT NULL,
        host TEXT NOT NULL,
        started_at TEXT NOT NULL,
        saved_at TEXT NOT NULL,
        status TEXT NOT NULL,
        seconds REAL NOT NULL,
        requests INTEGER NOT NULL,
        exit_code INTEGER,
        sentence TEXT NOT NULL,
        result TEXT NOT NULL
    ) STRICT;
    CREATE INDEX experiments_by_start ON experiments (started_at);
    """,
)

UNUSED_CONFIGS = (
    "DELETE FROM configs WHERE hash NOT IN"
    " (SELECT plan_hash FROM runs UNION SELECT config_hash FROM experiments)"
)


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> int:
    """Bring a file to the newest version, each step in a transaction of its own, and return that version.

    Raises RecordError for a file of a version that is not known here.

    >>> connection = sqlite3.connect(":memory:")
    >>> migrate(connection), migrate(connection)
    (2, 2)
    >>> connection.close()
    """
    while True:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(migrations):
            raise RecordError(
                f"the history has version {version}, this program knows up to {len(migrations)}; "
                "use a newer program"
            )
        if version == len(migrations):
            return int(version)
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Somebody else may have migrated between the look and the lock.
            if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                for statement in migrations[version].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite has rolled back by itself when the disk is full
                connection.execute("ROLLBACK")
            raise
