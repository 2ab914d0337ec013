"""SharedMemoryStore: state shared by all processes of one host, with nothing to install and no server to run.

A file in memory holds the state (`table`), a kernel file lock orders the decisions (`lock`), a
journal makes each of them all or nothing even for a process that is killed in the middle (`journal`).
The decision itself is `engine.decide`, as everywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from ... import engine
from ...errors import ConfigurationError
from ...escalation import AbuseState
from ...plan import Admitted, Asked, Limit, Outcome, Plan, Rule, State, binding
from ...sliding_window import SlidingWindow
from ...token_bucket import TokenBucket
from ..base import Clock, Take
from ..memory import monotonic_us
from . import cells
from . import file as shared_file
from .journal import Writes
from .layout import COMMIT, COUNT, DAMAGED, OVERFLOWED, RECOVERED, SHARED_AT
from .lock import TRY, UNLOCK, ProcessLock, flock
from .newcomers import Newcomers
from .ordinary import charge_ordinary
from .place import Place
from .table import Table
from .take import take_any, take_from_bucket, take_from_ring

DEFAULT_MAX_KEYS = 100_000


class SharedMemoryStore:
    """Keep state in shared memory: exact across all processes of this host and user that give the same name.

    Restarting the app keeps limits and bans, rebooting the host clears them.

    Args:
        name: ties the processes together; 1 to 64 letters, digits, "_" and "-".
        max_keys: most keys remembered at once, 1 to 50,000,000; fixed when the first process makes the file.
            About 230 bytes each: 23 MB for 100,000.
        directory: a folder of this user's on a local disk. Default: in /dev/shm, or the user's caches.
        clock: instant in integer microseconds, for tests; default: the monotonic clock.
        timeout: longest wait for another process in seconds, before `StoreUnavailable`.
        on_overflow: called with the number of decisions that used an overflow state so far, at the
            first of them and again each time their number has doubled.

    Raises:
        ConfigurationError: for a bad value, a platform without shared memory or file locks, or a file that is
            not this store's: another owner, a link, other sizes, a newer version, damaged.

    >>> SharedMemoryStore.remove("threshold-doctest")
    False
    >>> store = SharedMemoryStore("threshold-doctest", max_keys=1_000)
    >>> len(store), store.overflowed
    (0, 0)
    >>> store.close()
    >>> SharedMemoryStore.remove("threshold-doctest")
    True
    """

    asynchronous: ClassVar[bool] = False
    per_process: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        max_keys: int = DEFAULT_MAX_KEYS,
        *,
        directory: str | os.PathLike[str] | None = None,
        clock: Clock = monotonic_us,
        timeout: float = 1.0,
        on_overflow: Callable[[int], None] | None = None,
    ) -> None:
        if type(max_keys) is not int or not 1 <= max_keys <= 50_000_000:
            raise ConfigurationError("max_keys", max_keys, "give a whole number of keys, 1 to 50,000,000")
        if not callable(clock):
            raise ConfigurationError("clock", clock, "give a function that returns integer microseconds")
        if not isinstance(timeout, (int, float)) or not 0 <= timeout <= 3600:
            raise ConfigurationError("timeout", timeout, "give seconds, 0 to 3600")
        self.name = name
        self.max_keys = max_keys
        self.on_overflow = on_overflow
        self._news = 0
        # A clock in Python would take 50 ns more on the hot path.
        self._nanoseconds = time.monotonic_ns if clock is monotonic_us else lambda: clock() * 1000
        self._again = partial(
            SharedMemoryStore, directory=directory, clock=clock, timeout=timeout, on_overflow=on_overflow
        )
        self._file = file = shared_file.SharedFile(name, max_keys, directory)
        self.path = file.path
        """The file that holds the state."""
        self._words = file.words
        self._lock = ProcessLock(file.path, file.lock_fd, float(timeout))
        self._table = Table(file.memory, file.words, file.header.geometry, file.header.secret)
        self._newcomers = Newcomers(self._table)
        self._places_of = self._table.places.of_plan
        self._place_of = self._table.places.under

    @staticmethod
    def remove(name: str, directory: str | os.PathLike[str] | None = None) -> bool:
        """Delete the file of a store, and with it all its limits and bans; say whether there was one.

        Raises:
            ConfigurationError: while processes use it.
        """
        return shared_file.remove(name, directory)

    def __reduce__(self) -> tuple[Callable[..., SharedMemoryStore], tuple[str, int]]:
        """Pickled, a store is its arguments: a spawned process opens the same file."""
        return self._again, (self.name, self.max_keys)

    def __len__(self) -> int:
        """Number of keys remembered now."""
        return self._words[COUNT]

    @property
    def overflowed(self) -> int:
        """Decisions of all processes that used an overflow state or lost a strike: the store was full."""
        return self._words[OVERFLOWED]

    @property
    def recovered(self) -> int:
        """Decisions that were finished on behalf of a process that died in the middle."""
        return self._words[RECOVERED]

    @property
    def damaged(self) -> int:
        """Cells whose check did not hold, and which were therefore read in the strictest way."""
        return self._words[DAMAGED]

    def now(self) -> int:
        """The instant by this store's clock, in microseconds."""
        return self._nanoseconds() // 1000

    def check(self, limit: Limit) -> None:
        """Refuse algorithms whose state this store has no layout for; every size of limit fits."""
        cells.refuse_unknown(limit)

    def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step (see `engine.decide`).

        Raises:
            StoreUnavailable: when another process holds the lock longer than `timeout`.
        """
        rules, names, scope = plan.rules, plan.names, plan.abuse_scope
        places = self._places_of(rules, names)
        culprit = None if scope is None else self._place_of(scope, names[-1])
        lock = self._lock
        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                if self._words[COMMIT]:
                    self._table.journal.recover()
                now = self._nanoseconds() // 1000
                found = None
                if not plan.peek and 0 not in [place.cell for place in places]:
                    found = charge_ordinary(self._table, rules, places, culprit, plan.cost, now)
                if found is None:
                    outcome = self._decide(plan, places, culprit, now)
                else:
                    outcome = Outcome(True, found, now)
            finally:
                flock(lock.fd, UNLOCK)
        if self._news:
            self._announce()
        return outcome

    def admit(self, asked: Asked) -> Admitted | None:
        """Charge an ordinary request: every limit admits it, every name is known, nothing is held against it.

        Nearly all requests are. Of any other nothing is written and nothing is said: `decide` it.

        Raises:
            StoreUnavailable: as `decide` does.
        """
        rules, names, cost, scope, _, _ = asked
        places = self._places_of(rules, names)
        if 0 in [place.cell for place in places]:  # not seen by this process before
            return None
        culprit = None if scope is None else self._place_of(scope, names[-1])
        lock = self._lock
        with lock.threads:
            try:
                if flock(lock.fd, TRY):
                    lock.wait()
                if self._words[COMMIT]:
                    self._table.journal.recover()
                now = self._nanoseconds() // 1000
                found = charge_ordinary(self._table, rules, places, culprit, cost, now)
            finally:
                flock(lock.fd, UNLOCK)
        if found is None:
            return None
        i = binding(rules, found)
        return i, found[i][1], found[i][2]

    def bind(self, rule: Rule) -> Take:
        """A function that decides one cost for one key of this rule: `decide` without the plan."""
        limit = rule.limit
        cells.refuse_unknown(limit)
        take = take_any(rule, self._table, self._lock, self._nanoseconds, self.decide)
        if isinstance(limit, TokenBucket):
            return take_from_bucket(limit, rule.scope, self._table, self._lock, self._nanoseconds, take)
        if isinstance(limit, SlidingWindow):
            return take_from_ring(limit, rule.scope, self._table, self._lock, self._nanoseconds, take)
        return take

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe.

        A charge from before the last overflow may have been one to a shared state, and is left alone.
        """
        table = self._table
        places = table.places.of_plan(plan.rules, plan.names)
        with self._lock.held(self._recover):
            if self._words[OVERFLOWED] and at <= self._words[SHARED_AT]:
                return
            now = self._nanoseconds() // 1000
            writes: Writes = {}
            for rule, place in zip(plan.rules, places, strict=True):
                state = table.load(place, rule.limit, now)
                if state is None:
                    continue
                after = rule.limit.refund(state, now, plan.cost, at)
                if after is None:
                    table.rooms.forget(writes, place.cell)
                elif after != state:
                    table.save(writes, place, rule.limit, after)
            table.journal.commit(writes)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys."""
        table = self._table
        places = {place.digest: place for place in map(table.places.of, keys)}.values()
        with self._lock.held(self._recover):
            writes: Writes = {}
            for place in places:
                if table.find(place):
                    table.rooms.forget(writes, place.cell)
            table.journal.commit(writes)

    def state(self, keys: Sequence[str]) -> list[State]:
        """Read the raw states of these keys, None where there is none."""
        table = self._table
        places = [table.places.of(key) for key in keys]
        with self._lock.held(self._recover):
            return [table.peek(place) for place in places]

    def close(self) -> None:
        """Let go of the file. It stays, and so do limits and bans: see `remove`."""
        self._lock.close()
        self._file.close()

    def _announce(self) -> None:
        """Call `on_overflow`, the lock given back."""
        count, self._news = self._news, 0
        if count and self.on_overflow is not None:
            self.on_overflow(count)

    # What follows runs under the lock.

    def _recover(self) -> None:
        if self._words[COMMIT]:
            self._table.journal.recover()

    def _decide(self, plan: Plan, places: list[Place], culprit: Place | None, now: int) -> Outcome:
        table = self._table
        load = table.load
        states = [
            load(place, rule.limit, now)
            for place, rule in zip(places, plan.rules)  # noqa: B905 (0.1 us)
        ]
        abuse: AbuseState | None = None
        if culprit is not None and plan.ladder is not None:
            abuse = load(culprit, plan.ladder, now)
        rooms: dict[Place, int] = {}
        overflowed = lost = 0
        for state in states:
            if state is None:
                overflowed = self._newcomers.house(plan, places, states, rooms, now)
                break
        outcome, struck = engine.decide(plan, states, abuse, now)
        if struck is not None and culprit is not None and not culprit.cell and not plan.peek:
            rooms[culprit] = self._newcomers.room(culprit, places, rooms, now)
            if not rooms[culprit]:
                # A strike that cannot be remembered must not be forgiven either: plain refusals, no ladder.
                outcome, struck = engine.decide(replace(plan, ladder=None), states, abuse, now)
                lost = 1
        outcome.overflowed = overflowed + lost
        if plan.peek:
            return outcome
        if overflowed:
            self._words[SHARED_AT] = now
        if outcome.overflowed:
            self._count_overflow()
        writes: Writes = {}
        save = table.save
        for place, rule, state, answer in zip(places, plan.rules, states, outcome.found):  # noqa: B905
            after = answer[3]
            if after is not state and (place.cell or self._settle(writes, place, rooms)):
                save(writes, place, rule.limit, after)
        if struck is not None and culprit is not None and plan.ladder is not None:
            if not culprit.cell:
                self._settle(writes, culprit, rooms)
            save(writes, culprit, plan.ladder, struck)
        if writes:
            table.journal.commit(writes)
            if rooms and table.rooms.crowded():
                table.rooms.sweep(now, 1, set())
        return outcome

    def _count_overflow(self) -> None:
        self._words[OVERFLOWED] = count = self._words[OVERFLOWED] + 1
        if count & (count - 1) == 0:
            self._news = count

    def _settle(self, writes: Writes, place: Place, rooms: dict[Place, int]) -> bool:
        """Give a new key its cell. Not if not even an overflow state was to be had: then nothing is kept."""
        room = rooms.get(place, 0)
        if room:
            self._table.rooms.settle(writes, place, room)
        return room > 0
