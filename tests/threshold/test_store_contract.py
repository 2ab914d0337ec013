"""The stores of this process pass the contract; a store that lies does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from threshold import MemoryStore
from threshold.plan import Limit, Outcome, Plan, State
from threshold.testing import AsyncStoreContract, ManualClock, StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock=clock)


class TestMemoryStoreAtTheStartOfTime(StoreContract):
    start_us = 10**12

    def make_store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock=clock)


class TestSmallMemoryStore(StoreContract):
    """Always close to its bound: another path through every decision."""

    def make_store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(70, clock=clock)


class _Slow:
    """A store in memory that is awaited, as a remote one would be."""

    asynchronous = True

    def __init__(self, clock: ManualClock) -> None:
        self._store = MemoryStore(clock=clock)

    async def decide(self, plan: Plan) -> Outcome:
        return self._store.decide(plan)

    async def refund(self, plan: Plan, at: int) -> None:
        self._store.refund(plan, at)

    async def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        self._store.reset(keys)

    async def state(self, keys: Sequence[str]) -> list[State]:
        return self._store.state(keys)

    def check(self, limit: Limit) -> None:
        self._store.check(limit)

    async def aclose(self) -> None:
        self._store.close()


class TestAwaitedStore(AsyncStoreContract):
    def make_store(self, clock: ManualClock) -> _Slow:
        return _Slow(clock)


class TestAwaitedStoreMadeOnItsLoop(AsyncStoreContract):
    async def make_store(self, clock: ManualClock) -> _Slow:
        return _Slow(clock)


class _Forgetful(MemoryStore):
    """Loses the charge of every seventh decision."""

    decisions = 0

    def decide(self, plan: Plan) -> Outcome:
        self.decisions += 1
        if self.decisions % 7 == 0:
            return super().decide(
                Plan.of(plan.rules, plan.keys, plan.cost, plan.abuse, plan.ladder, peek=True)
            )
        return super().decide(plan)


def test_the_contract_finds_a_store_that_forgets() -> None:
    class Liar(StoreContract):
        def make_store(self, clock: ManualClock) -> MemoryStore:
            return _Forgetful(clock=clock)

    failed = 0
    for name in [name for name in dir(Liar) if name.startswith("test_")]:
        bench = Liar()
        bench.setup_method()
        try:
            getattr(bench, name)()
        except AssertionError:
            failed += 1
        finally:
            bench.teardown_method()
    assert failed >= 5


def test_a_contract_without_a_store_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="empty store"):
        StoreContract().setup_method()
