"""KeyTable: a bounded table of states that forgets only what is at rest. Without scans, threads or pauses.

- Every scope (a limit, or the abuse records of a policy) has a table of its own, by the name counted there.
- A table's keys live in many small dicts, so that a growing dict never stops the world for long.
- Every key stands in exactly one bucket of a calendar, by the instant its state comes to rest. A new key
  pays for looking at a few that are due: each is forgotten, or rescheduled if it was used again. A look
  is paid by the charge that made it necessary, so the work is constant per charge.

A signal handler may raise after any call in here. What must change together therefore changes with no call
in between, and a name in the calendar may be one that never got its state. At worst, a place remains taken.

Knows nothing of limits but when their states rest, and nothing of locks: its owner holds one.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Protocol

from ..plan import State, split

_KEYS_PER_SHARD = 1024
_MOST_SHARDS = 65_536
_LOOKS = 4
_LOOKS_WHEN_FULL = 16
_MOST_SCOPES = 65_536

Page = tuple[int, str]
"""A bucket of the calendar: the instant it is due, and the scope of the names in it."""


class Resting(Protocol):
    """What tells when a state comes to rest: a limit, or a ladder."""

    def rests_at(self, state: State) -> int: ...


class ScopeTable:
    """The states of one scope, by name; a name lives in `shards[hash(name) % width]`."""

    __slots__ = ("only", "resting", "scope", "shards", "width")

    def __init__(self, scope: str, resting: Resting) -> None:
        self.scope = scope
        self.resting = resting
        self.clear()

    def home(self, name: str) -> dict[str, State]:
        """The dict in which a name lives."""
        return self.shards[hash(name) % self.width]

    def clear(self) -> None:
        """Forget everything."""
        self.only: dict[str, State] | None = {}
        """The one shard there is; None as soon as there are several."""
        self.shards = [self.only]
        self.width = 1

    def spread(self, width: int) -> None:
        """Spread the names of the one shard there is over several."""
        (names,) = self.shards
        self.only = None
        shards: list[dict[str, State]] = [{} for _ in range(width)]
        for name, state in names.items():
            shards[hash(name) % width][name] = state
        self.shards = shards
        self.width = width


class KeyTable:
    """Hold at most `max_keys` states by key: a scope that ends in NUL, and a name."""

    __slots__ = ("_barren", "_buckets", "_calendar", "_most_shards", "count", "max_keys", "scopes")

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        self.count = 0
        """Keys held now."""
        shards = 1 << max(0, (max_keys // _KEYS_PER_SHARD).bit_length() - 1)
        # An odd number of shards, so that which shard says nothing about the place inside it.
        self._most_shards = min(shards, _MOST_SHARDS) | 1
        self.scopes: dict[str | None, ScopeTable] = {}
        """The table of each scope that was ever asked for."""
        self._buckets: dict[Page, deque[str]] = {}
        self._calendar: list[Page] = []
        self._barren = (0, 0)  # from when to when looking ahead is in vain

    def of(self, scope: str, resting: Resting) -> ScopeTable:
        """The table of a scope, whose states come to rest as `resting` says.

        Raises:
            RuntimeError: when there would be more than 65,536 scopes.
            ValueError: for a scope that does not end in the only NUL it has: nobody could tell it from names.
        """
        table = self.scopes.get(scope)
        if table is None:
            if scope.find("\0") != len(scope) - 1 or not scope:
                raise ValueError(f"scope: {scope!r} does not end in the only NUL it has")
            if len(self.scopes) >= _MOST_SCOPES:
                raise RuntimeError("more than 65,536 different limits in one store: a limit per caller?")
            table = self.scopes[scope] = ScopeTable(scope, resting)
        table.resting = resting
        return table

    def find(self, key: str) -> tuple[dict[str, State], str] | None:
        """The dict in which a key lives, and its name there; None when its scope is unknown."""
        scope, name = split(key)
        table = self.scopes.get(scope)
        return None if table is None else (table.home(name), name)

    def insert(self, table: ScopeTable, name: str, state: State, now: int) -> None:
        """Write the state of a name that may be new."""
        home = table.home(name)
        if name not in home:
            self._reclaim(now, _LOOKS)
            if len(home) >= _KEYS_PER_SHARD and table.width < self._most_shards:
                table.spread(self._most_shards)
                home = table.home(name)
            rests_at = table.resting.rests_at(state)
            if rests_at < self._barren[1]:
                self._barren = (self._barren[0], rests_at)
            self._schedule(table.scope, name, rests_at, now)
            self.count += 1
        home[name] = state

    def empty(self, key: str) -> None:
        """Forget the state of a key; its place is given back when the calendar comes to it."""
        found = self.find(key)
        if found is not None and found[1] in found[0]:
            self._barren = (0, 0)
            found[0][found[1]] = None

    def relieve(self, home: dict[str, State], name: str, state: State) -> None:
        """Write a state that may rest sooner than the one it replaces."""
        self._barren = (0, 0)
        home[name] = state

    def make_place(self, wanted: int, now: int) -> bool:
        """Try to free places until `wanted` keys fit; say whether they do."""
        most = self.max_keys - wanted
        if self.count > most:
            self._reclaim(now, _LOOKS_WHEN_FULL)
        if self.count > most and not self._barren[0] <= now < self._barren[1]:
            self._look_ahead(now)
        return self.count <= most

    def clear(self) -> None:
        """Forget everything; who holds a table of a scope may go on using it."""
        for table in self.scopes.values():
            table.clear()
        self.count = 0
        self._buckets.clear()
        self._calendar.clear()
        self._barren = (0, 0)

    def _schedule(self, scope: str, name: str, rests_at: int, now: int) -> None:
        """Enter the name in the bucket after `rests_at`; buckets are finer the nearer they are."""
        grain = max(0, (rests_at - now).bit_length() - 5)
        page = ((rests_at >> grain) + 1) << grain if grain else rests_at, scope
        bucket = self._buckets.get(page)
        if bucket is None:
            self._buckets[page] = bucket = deque()
            heappush(self._calendar, page)
        bucket.append(name)

    def _reclaim(self, now: int, looks: int) -> None:
        """Look at up to `looks` keys that are due: forget those at rest, put the others off."""
        calendar = self._calendar
        while looks and calendar and calendar[0][0] <= now:
            looks -= 1
            scope = calendar[0][1]
            if (awake := self._take_out(now)) is not None:
                self._schedule(scope, *awake, now)

    def _look_ahead(self, now: int) -> None:
        """Look at the keys that are due next: some may have come to rest already."""
        awake: list[tuple[str, str, int]] = []
        for _ in range(_LOOKS_WHEN_FULL):
            if not self._calendar:
                break
            scope = self._calendar[0][1]
            if (found := self._take_out(now)) is not None:
                awake.append((scope, *found))
        for entry in awake:
            self._schedule(*entry, now)
        self._barren = (now, min((rests_at for _, _, rests_at in awake), default=0))

    def _take_out(self, now: int) -> tuple[str, int] | None:
        """Take a name out of the next bucket; forget it if it is at rest, else say until when it is not."""
        page = self._calendar[0]
        bucket = self._buckets[page]
        name = bucket.popleft() if bucket else None
        if not bucket:
            del self._buckets[page]
            heappop(self._calendar)
        if name is None:
            return None
        table = self.scopes[page[1]]
        home = table.home(name)
        state = home.get(name)
        rests_at = now if state is None else table.resting.rests_at(state)
        if rests_at > now:
            return name, rests_at
        if name in home:
            del home[name]
            self.count -= 1
        return None
