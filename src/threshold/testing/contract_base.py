"""The bench on which a store is tested: a store, a clock, and short ways to ask.

The tests stand in the other contract modules; each module has one class, and `StoreContract` is their sum.
Plain asserts and no pytest, so that importing this costs a user nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar

from ..errors import ConfigurationError
from ..escalation import Ladder, Rung
from ..plan import Limit, Outcome, Plan, Rule, State
from ..sliding_window import SlidingWindow
from ..stores.base import Store
from ..token_bucket import TokenBucket
from .clock import ManualClock

BUCKET = TokenBucket("60/minute", burst=5)
WINDOW = SlidingWindow("5 per 10 seconds")
LIMITS: tuple[Limit, ...] = (BUCKET, WINDOW)
LADDER = Ladder(
    [Rung(forgive=True), Rung(cooldown=30), Rung(cooldown=60, shadow=500), Rung(ban=100)], decay=1000
)


class Bench:
    """What every test of the contract stands on: `self.store`, `self.clock`, and short ways to ask."""

    start_us: ClassVar[int] = 1_700_000_000_000_000
    """The clock starts here: a date of our days, because remote stores live at such instants."""

    store: Store
    clock: ManualClock

    def make_store(self, clock: ManualClock) -> Any:
        """Return an empty store that reads the time from `clock`; called once for each test."""
        raise NotImplementedError("a store's test class says here how to build an empty store")

    def setup_method(self) -> None:
        self.clock = ManualClock(self.start_us)
        self.store = self.make_store(self.clock)

    def teardown_method(self) -> None:
        self.store.close()

    def take(self, rule: Rule, who: str = "ann", cost: int = 1) -> Outcome:
        """Decide one rule for one identity."""
        return self.store.decide(plan([rule], who, cost=cost))

    def holds(self, limit: Limit) -> bool:
        """Whether this store says that it can hold the limit exactly."""
        try:
            self.store.check(limit)
        except ConfigurationError:
            return False
        return True

    def use_up(self, rule: Rule, who: str = "ann") -> None:
        """Take all a limit has, one by one."""
        for _ in range(rule.limit.capacity):
            assert self.take(rule, who).allowed


def plan(
    rules: Sequence[Rule],
    who: str = "ann",
    *,
    cost: int = 1,
    ladder: Ladder | None = None,
    peek: bool = False,
) -> Plan:
    """A plan for one identity under these rules; with a ladder it has an abuse record too."""
    keys = tuple(rule.scope + who for rule in rules)
    return Plan.of(tuple(rules), keys, cost, abuse_key(who) if ladder else None, ladder, who, peek)


def abuse_key(who: str = "ann") -> str:
    """The key of an identity's abuse record."""
    return f"abuse#contract\0{who}"


def rules_of(name: str, *, strikes: bool = False) -> list[Rule]:
    """One rule per algorithm, under this name."""
    return [Rule.of(f"{name}-{limit.algorithm}", "user", limit, strikes=strikes) for limit in LIMITS]


class Awaited:
    """An asynchronous store seen as a plain one: each call runs to its end on one event loop."""

    def __init__(self, store: Any, run: Any) -> None:
        self._store = store
        self._run = run

    def decide(self, plan: Plan) -> Outcome:
        outcome: Outcome = self._run(_awaiting(self._store.decide(plan)))
        return outcome

    def together(self, plans: Sequence[Plan]) -> list[Outcome]:
        """Decide all plans at once, in a task each."""

        async def gathered() -> list[Outcome]:
            return list(await asyncio.gather(*(_awaiting(self._store.decide(plan)) for plan in plans)))

        outcomes: list[Outcome] = self._run(gathered())
        return outcomes

    def refund(self, plan: Plan, at: int) -> None:
        self._run(_awaiting(self._store.refund(plan, at)))

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        self._run(_awaiting(self._store.reset(keys)))

    def state(self, keys: Sequence[str]) -> list[State]:
        states: list[State] = self._run(_awaiting(self._store.state(keys)))
        return states

    def check(self, limit: Limit) -> None:
        self._store.check(limit)

    def close(self) -> None:
        self._run(_awaiting(self._store.aclose()))


async def _awaiting(answer: Awaitable[Any]) -> Any:
    return await answer
