"""A store that can be sent away and called back: a MemoryStore behind a switch."""

from __future__ import annotations

from collections.abc import Sequence

from threshold import MemoryStore, StoreUnavailable
from threshold.plan import Limit, Outcome, Plan, State
from threshold.testing import ManualClock


class FailingStore:
    """Answers like a `MemoryStore`, or raises `StoreUnavailable` while `away`."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.inner = MemoryStore(clock=clock or ManualClock())
        self.away = False
        self.asked = 0

    def _ask(self) -> MemoryStore:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("connection refused")
        return self.inner

    def decide(self, plan: Plan) -> Outcome:
        return self._ask().decide(plan)

    def refund(self, plan: Plan, at: int) -> None:
        self._ask().refund(plan, at)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        self._ask().reset(keys)

    def state(self, keys: Sequence[str]) -> list[State]:
        return self._ask().state(keys)

    def check(self, limit: Limit) -> None:
        self.inner.check(limit)

    def close(self) -> None:
        self.inner.close()


class AwaitedStore:
    """The same, awaited, as a remote store would be."""

    asynchronous = True

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.store = FailingStore(clock)
        self.closed = False

    async def decide(self, plan: Plan) -> Outcome:
        return self.store.decide(plan)

    async def refund(self, plan: Plan, at: int) -> None:
        self.store.refund(plan, at)

    async def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        self.store.reset(keys)

    async def state(self, keys: Sequence[str]) -> list[State]:
        return self.store.state(keys)

    def check(self, limit: Limit) -> None:
        self.store.check(limit)

    async def aclose(self) -> None:
        self.closed = True
