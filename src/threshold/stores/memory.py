"""MemoryStore: state in the memory of this process. Bounded, exact, thread-safe.

The bound holds without background threads, scans or eviction of anything that still matters: a full store
forgets only what is at rest (key_table.py). When nothing is, newcomers share one overflow state per rule: the
limit still holds for all of them together, and everybody already known keeps their own state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock
from typing import ClassVar

from .. import engine
from ..errors import ConfigurationError
from ..escalation import AbuseState
from ..plan import Found, Limit, Outcome, Plan, Rule, State
from .base import Clock, Take
from .key_table import KeyTable, scope_of

DEFAULT_MAX_KEYS = 1_000_000
_NOT_KEPT: tuple[None, list[dict[str, State]]] = (None, [])


def monotonic_us() -> int:
    """The monotonic clock of this machine in microseconds."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """Keep state in this process; the default store.

    Args:
        max_keys: most keys remembered at once, 1 to 100,000,000. One per caller and limit.
        clock: instant in integer microseconds, for tests; default: the monotonic clock.
        on_overflow: called with the number of decisions so far that found no place, at the first of them and
            again each time their number has doubled. Called without the lock; what it raises is logged.

    Raises:
        ConfigurationError: when max_keys is out of range.

    >>> store = MemoryStore(max_keys=10_000)
    >>> len(store), store.overflowed
    (0, 0)
    """

    asynchronous: ClassVar[bool] = False
    per_process: ClassVar[bool] = True

    def __init__(
        self,
        max_keys: int = DEFAULT_MAX_KEYS,
        *,
        clock: Clock = monotonic_us,
        on_overflow: Callable[[int], None] | None = None,
    ) -> None:
        if type(max_keys) is not int or not 1 <= max_keys <= 100_000_000:
            raise ConfigurationError("max_keys", max_keys, "give a whole number of keys, 1 to 100,000,000")
        if not callable(clock):
            raise ConfigurationError("clock", clock, "give a function that returns integer microseconds")
        self.max_keys = max_keys
        self.generation = 0
        """Grows whenever something is taken back: a reset, a refund."""
        self.overflowed = 0
        """Decisions so far that shared an overflow state or lost a strike, because the store was full."""
        self.on_overflow = on_overflow
        self._clock = clock
        self._lock = RLock()
        self._acquire = self._lock.acquire
        self._release = self._lock.release
        # A clock in Python would take 50 ns more on the hot path.
        self._nanoseconds = time.monotonic_ns if clock is monotonic_us else lambda: clock() * 1000
        self._table = table = KeyTable(max_keys)
        self._shards = table.shards
        self._width = table.width
        self._overflow: dict[str, State] = {}
        self._shared_at: int | None = None  # instant of the last charge to an overflow state
        self._news = 0

    def __len__(self) -> int:
        """Number of keys remembered now."""
        return self._table.count

    def now(self) -> int:
        """The instant by this store's clock, in microseconds."""
        return self._clock()

    def check(self, limit: Limit) -> None:
        """Accept every limit: Python integers are exact at any size."""

    def decide(self, plan: Plan) -> Outcome:
        """Decide the plan in one atomic step (see `engine.decide`)."""
        keys = plan.keys
        release = self._release
        try:  # see bind
            self._acquire()
            now = self._nanoseconds() // 1000
            outcome = None
            if len(keys) == 1 and plan.ladder is None and not plan.peek:  # what one limit says is the outcome
                key = keys[0]
                home = self._shards[hash(key) % self._width]
                state = home.get(key)
                if state is not None:
                    answer = plan.rules[0].step(state, now, plan.cost)
                    home[key] = answer[3]
                    outcome = Outcome(not answer[0], (answer,), now)
            if outcome is None:
                if self._table.count + len(keys) < self.max_keys:
                    outcome = self._decide_all(plan, now)
                else:
                    outcome = self._decide_when_full(plan, now)
            release()
        except BaseException:
            try:  # noqa: SIM105 (suppress() would be a call in between)
                release()
            except RuntimeError:
                pass  # this thread does not hold it
            raise
        if self._news:
            self._announce()
        return outcome

    def bind(self, rule: Rule) -> Take:
        """A function that decides one cost for one key of this rule: `decide` without the plan."""
        shards, width, step = self._shards, self._width, rule.limit.step
        acquire, release, nanoseconds = self._acquire, self._release, self._nanoseconds

        # `with` takes 75 ns more, a fourteenth of a decision. A signal handler may raise after any call, so
        # acquire() stands inside the try, and release() is the very next call after an exception; the RLock
        # knows whether this thread holds it.
        def take(key: str, cost: int) -> Found:
            home = shards[hash(key) % width]
            try:
                acquire()
                now = nanoseconds() // 1000
                state = home.get(key)
                if state is None:
                    found = self._take_first(rule, key, cost, now)
                else:
                    found = step(state, now, cost)
                    home[key] = found[3]
                release()
            except BaseException:
                try:  # noqa: SIM105
                    release()
                except RuntimeError:
                    pass
                raise
            if state is None and self._news:
                self._announce()
            return found

        return take

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe.

        A charge from before the last overflow may have been one to a shared state, and is left alone.
        """
        with self._lock:
            self.generation += 1
            if self._shared_at is not None and at <= self._shared_at:
                return
            now = self._clock()
            for rule, key in zip(plan.rules, plan.keys, strict=True):
                state = self._table.home(key).get(key)
                if state is not None:
                    self._table.relieve(key, rule.limit.refund(state, now, plan.cost, at))

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys; their places are given back when the calendar comes to them."""
        with self._lock:
            self.generation += 1
            for key in keys:
                self._table.empty(key)

    def state(self, keys: Sequence[str]) -> list[State]:
        """Read the raw states of these keys, None where there is none."""
        with self._lock:
            return [self._table.home(key).get(key) for key in keys]

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._table.clear()
            self._overflow.clear()

    # What follows runs under the lock.

    def _decide_all(self, plan: Plan, now: int) -> Outcome:
        """Decide a plan whose keys all have, or can have, a place."""
        keys = plan.keys
        cost = plan.cost
        homes: list[dict[str, State]]
        owner, homes = plan.kept or _NOT_KEPT
        if owner is not self:
            homes = self._homes(plan)
        culprit = plan.abuse
        abuse: AbuseState | None = None
        if culprit is not None:
            abuse = homes[-1].get(culprit)
            if abuse is not None and plan.ladder is not None and abuse.blocked_until > now:
                outcome, struck = engine.barred(plan.ladder, abuse, now)
                if struck is not None and not plan.peek:
                    self._table.insert(culprit, scope_of(culprit), plan.ladder, struck, now)
                return outcome
        plain = abuse is None and not plan.peek
        found: list[Found] = []
        for rule, key, home in zip(plan.rules, keys, homes):  # noqa: B905 (0.1 us)
            state = home.get(key)
            answer = rule.step(state, now, cost)
            if answer[0] or state is None:
                plain = False
            found.append(answer)
        if plain:  # everybody admits, everybody is known: what `settle` would say, 0.5 us sooner
            for home, key, answer in zip(homes, keys, found):  # noqa: B905
                home[key] = answer[3]
            return Outcome(True, found, now)
        states = [home.get(key) for home, key in zip(homes, keys)]  # noqa: B905
        outcome, struck = engine.settle(plan, states, found, abuse, now)
        if not plan.peek:
            self._write(plan, states, outcome, struck)
        return outcome

    def _homes(self, plan: Plan) -> list[dict[str, State]]:
        """The dicts in which the keys live, the abuse record last; kept for when the plan comes again."""
        keys = plan.keys if plan.abuse is None else (*plan.keys, plan.abuse)
        homes = [self._table.home(key) for key in keys]
        plan.kept = (self, homes)
        return homes

    def _write(
        self, plan: Plan, states: Sequence[State], outcome: Outcome, struck: AbuseState | None
    ) -> None:
        """Write what an outcome changed."""
        fresh = False
        for key, state, answer in zip(plan.keys, states, outcome.found):  # noqa: B905
            if answer[3] is not state:
                if state is None:
                    fresh = True
                else:
                    self._table.home(key)[key] = answer[3]
        # New keys come last: making place for one may forget a key that is at rest, and by now no key of
        # this plan that was charged is.
        if fresh:
            self._insert_new(plan, states, outcome)
        if struck is not None and plan.abuse is not None and plan.ladder is not None:
            self._table.insert(plan.abuse, scope_of(plan.abuse), plan.ladder, struck, outcome.at)

    def _take_first(self, rule: Rule, key: str, cost: int, now: int) -> Found:
        """The take of a key that has no state yet."""
        if key not in self._table.home(key) and not self._table.make_place(1, now):
            found = rule.step(self._overflow.get(rule.scope), now, cost)
            self._overflow[rule.scope] = found[3]
            self._shared_at = now
            self._count_overflow()
            return found
        found = rule.step(None, now, cost)
        if found[3] is not None:
            self._table.insert(key, rule.scope, rule.limit, found[3], now)
        return found

    def _insert_new(self, plan: Plan, states: Sequence[State], outcome: Outcome) -> None:
        """Write the states of those keys that had none."""
        for rule, key, state, answer in zip(plan.rules, plan.keys, states, outcome.found, strict=True):
            if state is None and answer[3] is not None:
                self._table.insert(key, rule.scope, rule.limit, answer[3], outcome.at)

    def _decide_when_full(self, plan: Plan, now: int) -> Outcome:
        """Decide with overflow states for those keys that are new and find no place."""
        keys = plan.keys if plan.abuse is None else (*plan.keys, plan.abuse)
        before = -1
        while self._table.count != before:  # making place may forget a key of this very plan
            before = self._table.count
            self._table.make_place(sum(not self._table.knows(key) for key in keys), now)
        places = self.max_keys - self._table.count
        states: list[State] = []
        shared: set[int] = set()
        for i, key in enumerate(plan.keys):
            home = self._table.home(key)
            if key not in home:
                places -= 1
            if places < 0 and key not in home:
                shared.add(i)
                states.append(self._overflow.get(plan.rules[i].scope))
            else:
                states.append(home.get(key))
        abuse = None if plan.abuse is None else self._table.home(plan.abuse).get(plan.abuse)
        homeless = (
            plan.abuse is not None
            and self._table.count >= self.max_keys
            and not self._table.knows(plan.abuse)
        )
        if homeless:
            # A strike that cannot be remembered must not be forgiven either: plain refusals, no ladder.
            plan = replace(plan, ladder=None)
        outcome, struck = engine.decide(plan, states, abuse, now)
        outcome.overflowed = len(shared)
        if plan.peek:
            return outcome
        for i, answer in enumerate(outcome.found):
            if answer[3] is not states[i]:
                rule = plan.rules[i]
                if i in shared:
                    self._overflow[rule.scope] = answer[3]
                    self._shared_at = now
                else:
                    self._table.insert(plan.keys[i], rule.scope, rule.limit, answer[3], now)
        if struck is not None and plan.abuse is not None and plan.ladder is not None:
            self._table.insert(plan.abuse, scope_of(plan.abuse), plan.ladder, struck, now)
        if shared or (homeless and not outcome.allowed):
            self._count_overflow()
        return outcome

    def _count_overflow(self) -> None:
        self.overflowed += 1
        if self.on_overflow is not None and self.overflowed & (self.overflowed - 1) == 0:
            self._news = self.overflowed

    def _announce(self) -> None:
        """Tell the listener, without the lock: it may use the store, and it may fail."""
        with self._lock:
            news, self._news = self._news, 0
        if news and self.on_overflow is not None:
            try:
                self.on_overflow(news)
            except Exception:
                from logging import getLogger  # 4 ms at start-up, for a line that is hardly ever written

                getLogger("threshold").exception("on_overflow failed")
