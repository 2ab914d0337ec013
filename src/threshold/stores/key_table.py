"""KeyTable: a bounded table of states that forgets only what is at rest. Without scans, threads or pauses.

- Keys live in many small dicts, so that a growing dict never stops the world for long.
- Every key stands in exactly one bucket of a calendar, by the instant its state comes to rest. A new key
  pays for looking at a few that are due: each is forgotten, or rescheduled if it was used again. A look
  is paid by the charge that made it necessary, so the work is constant per charge.

Knows nothing of limits but when their states rest, and nothing of locks: its owner holds one.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Protocol

from ..plan import State

_KEYS_PER_SHARD = 1024
_LOOKS = 4
_LOOKS_WHEN_FULL = 16
_MOST_SCOPES = 65_536


class Resting(Protocol):
    """What tells when a state comes to rest: a limit, or a ladder."""

    def rests_at(self, state: State) -> int: ...


class KeyTable:
    """Hold at most `max_keys` states by key."""

    __slots__ = ("_barren", "_calendar", "_resting", "buckets", "count", "max_keys", "shards", "width")

    def __init__(self, max_keys: int) -> None:
        self.max_keys = max_keys
        count = 1 << max(0, (max_keys // _KEYS_PER_SHARD).bit_length() - 1)
        # An odd number of shards, so that which shard says nothing about the place inside it.
        self.shards: list[dict[str, State]] = [{} for _ in range(min(count, 65_536) | 1)]
        """The states; a key lives in `shards[hash(key) % width]`."""
        self.width = len(self.shards)
        self.count = 0
        """Keys held now."""
        self.buckets: dict[int, deque[str]] = {}
        self._calendar: list[int] = []
        self._resting: dict[str, Resting] = {}
        self._barren = (0, 0)  # from when to when looking ahead is in vain

    def home(self, key: str) -> dict[str, State]:
        """The dict in which a key lives."""
        return self.shards[hash(key) % self.width]

    def knows(self, key: str) -> bool:
        """Whether the key has a place, be it with a state or without."""
        return key in self.home(key)

    def insert(self, key: str, scope: str, resting: Resting, state: State, now: int) -> None:
        """Write the state of a key that may be new.

        Raises:
            RuntimeError: when there are more than 65,536 scopes, before anything is written.
        """
        home = self.home(key)
        if self._resting.get(scope) is not resting:
            if len(self._resting) >= _MOST_SCOPES and scope not in self._resting:
                raise RuntimeError("more than 65,536 different limits in one store: a limit per caller?")
            self._resting[scope] = resting
        if key not in home:
            self._reclaim(now, _LOOKS)
            self.count += 1
            rests_at = resting.rests_at(state)
            if rests_at < self._barren[1]:
                self._barren = (self._barren[0], rests_at)
            self._schedule(key, rests_at, now)
        home[key] = state

    def empty(self, key: str) -> None:
        """Forget the state of a key; its place is given back when the calendar comes to it."""
        self._barren = (0, 0)
        home = self.home(key)
        if key in home:
            home[key] = None

    def relieve(self, key: str, state: State) -> None:
        """Write a state that may rest sooner than the one it replaces."""
        self._barren = (0, 0)
        self.home(key)[key] = state

    def make_place(self, wanted: int, now: int) -> bool:
        """Try to free places until `wanted` keys fit; say whether they do."""
        most = self.max_keys - wanted
        if self.count > most:
            self._reclaim(now, _LOOKS_WHEN_FULL)
        if self.count > most and not self._barren[0] <= now < self._barren[1]:
            self._look_ahead(now)
        return self.count <= most

    def clear(self) -> None:
        """Forget everything."""
        for shard in self.shards:
            shard.clear()
        self.count = 0
        self.buckets.clear()
        self._calendar.clear()
        self._barren = (0, 0)

    def _schedule(self, key: str, rests_at: int, now: int) -> None:
        """Enter the key in the bucket after `rests_at`; buckets are finer the nearer they are."""
        grain = max(0, (rests_at - now).bit_length() - 5)
        due = ((rests_at >> grain) + 1) << grain if grain else rests_at
        bucket = self.buckets.get(due)
        if bucket is None:
            self.buckets[due] = bucket = deque()
            heappush(self._calendar, due)
        bucket.append(key)

    def _reclaim(self, now: int, looks: int) -> None:
        """Look at up to `looks` keys that are due: forget those at rest, put the others off."""
        calendar = self._calendar
        while looks and calendar and calendar[0] <= now:
            looks -= 1
            if (found := self._take_out(calendar[0], now)) is not None:
                self._schedule(found[1], found[0], now)

    def _look_ahead(self, now: int) -> None:
        """Look at the keys that are due next: some may have come to rest already."""
        awake: list[tuple[int, str]] = []
        for _ in range(_LOOKS_WHEN_FULL):
            if not self._calendar:
                break
            if (found := self._take_out(self._calendar[0], now)) is not None:
                awake.append(found)
        for rests_at, key in awake:
            self._schedule(key, rests_at, now)
        self._barren = (now, min(awake)[0] if awake else 0)

    def _take_out(self, due: int, now: int) -> tuple[int, str] | None:
        """Take one key out of a bucket and forget it if it is at rest, else say until when it is not."""
        bucket = self.buckets[due]
        key = bucket.popleft()
        if not bucket:
            del self.buckets[due]
            heappop(self._calendar)
        home = self.home(key)
        state = home[key]
        rests_at = now if state is None else self._resting[scope_of(key)].rests_at(state)
        if rests_at > now:
            return rests_at, key
        del home[key]
        self.count -= 1
        return None


def scope_of(key: str) -> str:
    """The part of a key that names its rule."""
    return key[: key.index("\0") + 1]
