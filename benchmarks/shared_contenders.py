"""Three ways to share one token bucket between the processes of a host. Importable by spawned processes.

SQLite and Redis are done as well as their usual clients allow: one transaction or one script per decision, on
a memory file or a unix socket, with durability switched off, on a connection that stays open.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from threshold import Limiter, TokenBucket
from threshold.stores.shared import SharedMemoryStore

CONTENDERS = ("shared memory", "SQLite", "Redis")

Acquire = Callable[[str], bool]
"""Charge one request to a key; say whether it was admitted."""


class Address(NamedTuple):
    """Which contender, and where it lives."""

    contender: str
    name: str
    folder: str
    socket: str


def build(address: Address, limit: int) -> Acquire:
    """Open the contender in this process, with so many requests per day."""
    return {"shared memory": _shared, "SQLite": _sqlite, "Redis": _redis}[address.contender](address, limit)


def _shared(address: Address, limit: int) -> Acquire:
    limiter = Limiter(TokenBucket(f"{limit}/day"), SharedMemoryStore(address.name, timeout=20))
    return lambda key: limiter.acquire(key).allowed


def prepare(folder: str) -> None:
    """Make what the processes then find: changing the mode of a database needs it all to oneself."""
    with closing(sqlite3.connect(Path(folder) / "limits.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE state (key TEXT PRIMARY KEY, drained INTEGER)")


def _sqlite(address: Address, limit: int) -> Acquire:
    bucket = TokenBucket(f"{limit}/day")
    path = Path(address.folder) / "limits.sqlite"
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")

    def acquire(key: str) -> bool:
        full = f"{limit}:{key}"
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT drained FROM state WHERE key = ?", (full,)).fetchone()
        now = time.monotonic_ns() // 1000
        retry, _, _, state = bucket.step(None if row is None else row[0], now, 1)
        if retry == 0:
            connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (full, state))
        connection.execute("COMMIT")
        return retry == 0

    return acquire


_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local unit, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local drained = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if drained + unit - now > full then
  return 0
end
redis.call('SET', KEYS[1], string.format('%.6f', drained + unit), 'PX', 86400000)
return 1
"""


def _redis(address: Address, limit: int) -> Acquire:
    import redis

    client = redis.Redis(unix_socket_path=address.socket, single_connection_client=True)
    script = client.script_load(_SCRIPT)
    day = 86_400_000_000

    def acquire(key: str) -> bool:
        return bool(client.evalsha(script, 1, f"{limit}:{key}", day / limit, day))

    return acquire
