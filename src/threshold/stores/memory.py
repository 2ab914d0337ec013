"""MemoryStore: state in the memory of this process. Bounded, exact, thread-safe.

The bound holds without background threads, scans or eviction of anything that still matters: a full store
forgets only what is at rest (key_table.py). When nothing is, newcomers share one overflow state per rule: the
limit still holds for all of them together, and everybody already known keeps their own state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import ClassVar

from .. import engine
from ..errors import ConfigurationError
from ..escalation import AbuseState
from ..plan import Admitted, Asked, Found, Limit, Lineup, Outcome, Plan, Rule, State
from .base import Clock, Take
from .key_table import KeyTable, ScopeTable
from .unrolled import Charge, T, unrolled, unrolled_found, unrolled_take

DEFAULT_MAX_KEYS = 1_000_000
_MOST_LINEUPS = 4096


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
        self._table = KeyTable(max_keys)
        self._table_of = self._table.scopes.get
        self._charges: dict[int, Charge[Admitted]] = {}  # by the id() of their rules
        self._founds: dict[int, Charge[list[Found]]] = {}
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
        rules = plan.rules
        charge = None
        if isinstance(rules, Lineup) and not plan.peek:
            charge = self._founds.get(id(rules)) or self._write_out(rules, self._founds, unrolled_found)
        release = self._release
        try:  # see unrolled_take
            self._acquire()
            now = self._nanoseconds() // 1000
            found = None
            if charge is not None:
                found = charge(plan.names, plan.cost, now, self._table_of(plan.abuse_scope))
            if found is not None:
                outcome = Outcome(True, found, now)
            elif self._table.count + len(plan.names) <= self.max_keys:
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

    def admit(self, asked: Asked) -> Admitted | None:
        """Charge an ordinary request: every limit admits it, every name is known, nothing is held against it.

        Nearly all requests are. Of any other nothing is written and nothing is said: `decide` it.
        """
        rules, names, cost, abuse_scope, _, _ = asked
        charge = self._charges.get(id(rules)) or self._write_out(rules, self._charges, unrolled)
        release = self._release
        try:  # see unrolled_take
            self._acquire()
            admitted = charge(names, cost, self._nanoseconds() // 1000, self._table_of(abuse_scope))
            release()
        except BaseException:
            try:  # noqa: SIM105
                release()
            except RuntimeError:
                pass
            raise
        return admitted

    def bind(self, rule: Rule) -> Take:
        """A function that decides one cost for one name under this rule: `decide` without the plan."""
        with self._lock:
            table = self._table.of(rule.scope, rule.limit)
        names: dict[str, object] = {
            "acquire": self._acquire,
            "release": self._release,
            "nanoseconds": self._nanoseconds,
            "take_first": partial(self._take_first, rule, table),
            "announce": self._announce,
        }
        return unrolled_take(rule.limit, table, names)

    def refund(self, plan: Plan, at: int) -> None:
        """Give back what the plan charged at the instant `at`, as far as that is safe.

        A charge from before the last overflow may have been one to a shared state, and is left alone.
        """
        with self._lock:
            self.generation += 1
            if self._shared_at is not None and at <= self._shared_at:
                return
            now = self._clock()
            for rule, name in zip(plan.rules, plan.names):  # noqa: B905 (an abuse record is last)
                home = self._table.of(rule.scope, rule.limit).home(name)
                state = home.get(name)
                if state is not None:
                    self._table.relieve(home, name, rule.limit.refund(state, now, plan.cost, at))

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget the state of these keys; their places are given back when the calendar comes to them."""
        with self._lock:
            self.generation += 1
            for key in keys:
                self._table.empty(key)

    def state(self, keys: Sequence[str]) -> list[State]:
        """Read the raw states of these keys, None where there is none."""
        with self._lock:
            places = [self._table.find(key) for key in keys]
            return [None if place is None else place[0].get(place[1]) for place in places]

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._table.clear()
            self._overflow.clear()

    def _write_out(
        self,
        rules: Sequence[Rule],
        known: dict[int, Charge[T]],
        write: Callable[[Sequence[Rule], Sequence[ScopeTable]], Charge[T]],
    ) -> Charge[T]:
        """Write the function that charges ordinary requests under these rules; it keeps its rules alive."""
        with self._lock:
            tables = [self._table.of(rule.scope, rule.limit) for rule in rules]
        if len(known) >= _MOST_LINEUPS:
            known.clear()
        charge = known[id(rules)] = write(rules, tables)
        return charge

    # What follows runs under the lock.

    def _decide_all(self, plan: Plan, now: int) -> Outcome:
        """Decide a plan whose keys all have, or can have, a place."""
        table = self._table
        names = plan.names
        homes = [table.of(rule.scope, rule.limit).home(name) for rule, name in zip(plan.rules, names)]  # noqa: B905
        states = [home.get(name) for home, name in zip(homes, names)]  # noqa: B905
        abuse: AbuseState | None = None
        if plan.ladder is not None and plan.abuse_scope is not None:
            abuse = table.of(plan.abuse_scope, plan.ladder).home(names[-1]).get(names[-1])
        outcome, struck = engine.decide(plan, states, abuse, now)
        if not plan.peek:
            for home, name, state, answer in zip(homes, names, states, outcome.found):  # noqa: B905
                if answer[3] is not state and state is not None:
                    home[name] = answer[3]
            # New keys come last: making place for one may forget a key that is at rest, and by now no key of
            # this plan that was charged is.
            for rule, name, state, answer in zip(plan.rules, names, states, outcome.found):  # noqa: B905
                if state is None and answer[3] is not None:
                    self._insert(rule, name, answer[3], now)
            self._remember(plan, struck, now)
        return outcome

    def _insert(self, rule: Rule, name: str, state: State, now: int) -> None:
        self._table.insert(self._table.of(rule.scope, rule.limit), name, state, now)

    def _remember(self, plan: Plan, struck: AbuseState | None, now: int) -> None:
        """Write the abuse record that a decision left, if it left one."""
        if struck is not None and plan.abuse_scope is not None and plan.ladder is not None:
            table = self._table.of(plan.abuse_scope, plan.ladder)
            self._table.insert(table, plan.names[-1], struck, now)

    def _take_first(self, rule: Rule, table: ScopeTable, name: str, cost: int, now: int) -> Found:
        """The take of a name that has no state yet."""
        if name not in table.home(name) and not self._table.make_place(1, now):
            found = rule.step(self._overflow.get(rule.scope), now, cost)
            self._overflow[rule.scope] = found[3]
            self._shared_at = now
            self._count_overflow()
            return found
        found = rule.step(None, now, cost)
        if found[3] is not None:
            self._table.insert(table, name, found[3], now)
        return found

    def _decide_when_full(self, plan: Plan, now: int) -> Outcome:
        """Decide with overflow states for those keys that are new and find no place."""
        table = self._table
        names = plan.names
        ladder = plan.ladder
        homes = [table.of(rule.scope, rule.limit).home(name) for rule, name in zip(plan.rules, names)]  # noqa: B905
        if ladder is not None and plan.abuse_scope is not None:
            homes.append(table.of(plan.abuse_scope, ladder).home(names[-1]))
        before = -1
        while table.count != before:  # making place may forget a key of this very plan
            before = table.count
            table.make_place(sum(name not in home for home, name in zip(homes, names)), now)  # noqa: B905
        places = self.max_keys - table.count
        states: list[State] = []
        shared: set[int] = set()
        for i, rule in enumerate(plan.rules):
            new = names[i] not in homes[i]
            places -= new
            if new and places < 0:
                shared.add(i)
            states.append(self._overflow.get(rule.scope) if i in shared else homes[i].get(names[i]))
        abuse: AbuseState | None = None
        homeless = False
        if len(homes) > len(states):
            abuse = homes[-1].get(names[-1])
            homeless = table.count >= self.max_keys and names[-1] not in homes[-1]
        if homeless:
            # A strike that cannot be remembered must not be forgiven either: plain refusals, no ladder.
            plan = replace(plan, ladder=None)
        outcome, struck = engine.decide(plan, states, abuse, now)
        lost = homeless and any(
            answer[0] > 0 and rule.strikes for answer, rule in zip(outcome.found, plan.rules, strict=True)
        )
        outcome.overflowed = len(shared) + lost
        if plan.peek:
            return outcome
        for i, answer in enumerate(outcome.found):
            if answer[3] is not states[i]:
                rule = plan.rules[i]
                if i in shared:
                    self._overflow[rule.scope] = answer[3]
                    self._shared_at = now
                else:
                    self._insert(rule, names[i], answer[3], now)
        self._remember(plan, struck, now)
        if outcome.overflowed:
            self._count_overflow()
        return outcome

    def _count_overflow(self) -> None:
        self.overflowed += 1
        if self.on_overflow is not None and self.overflowed & (self.overflowed - 1) == 0:
            self._news = self.overflowed

    def _announce(self) -> None:
        """Tell the listener if there is news, without the lock: it may use the store, and it may fail."""
        if not self._news:
            return
        with self._lock:
            news, self._news = self._news, 0
        if news and self.on_overflow is not None:
            try:
                self.on_overflow(news)
            except Exception:
                from logging import getLogger  # 4 ms at start-up, for a line that is hardly ever written

                getLogger("threshold").exception("on_overflow failed")
