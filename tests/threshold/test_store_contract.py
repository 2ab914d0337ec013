"""The stores of this process pass the contract; a store that lies does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest

from threshold import MemoryStore, engine
from threshold.escalation import AbuseState
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


class _Divided(MemoryStore):
    """Reads in one step and writes in another; others may come in between."""

    def decide(self, plan: Plan) -> Outcome:
        with self._lock:
            states = self.state(plan.keys)
            abuse = self.state([plan.abuse])[0] if plan.abuse else None
        time.sleep(0)
        outcome, struck = engine.decide(plan, states, cast("AbuseState | None", abuse), self.now())
        with self._lock:
            if not plan.peek:
                for rule, name, answer in zip(plan.rules, plan.names, outcome.found, strict=False):
                    if answer[3] is not None:
                        self._insert(rule, name, answer[3], outcome.at)
                self._remember(plan, struck, outcome.at)
        return outcome


class _Folding(MemoryStore):
    """Takes names for the same that differ in case, as databases may."""

    def decide(self, plan: Plan) -> Outcome:
        return super().decide(replace(plan, names=[name.lower() for name in plan.names]))


class _Yielding(_Slow):
    """Gives way between reading and writing."""

    async def decide(self, plan: Plan) -> Outcome:
        states = await self.state(plan.keys)
        plan = replace(plan, ladder=None, abuse_scope=None)
        outcome, _ = engine.decide(plan, states, None, self._store.now())
        await asyncio.sleep(0)
        for rule, name, answer in zip(plan.rules, plan.names, outcome.found, strict=False):
            if answer[3] is not None and not plan.peek:
                self._store._insert(rule, name, answer[3], outcome.at)
        return outcome


def failing(contract: type[StoreContract], store: Callable[[ManualClock], object]) -> set[str]:
    """The tests of a contract that a store does not pass."""

    class Bench(contract):  # type: ignore[misc, valid-type]
        def make_store(self, clock: ManualClock) -> object:
            return store(clock)

    failed = set()
    for name in [name for name in dir(Bench) if name.startswith("test_")]:
        bench = Bench()
        bench.setup_method()
        try:
            getattr(bench, name)()
        except AssertionError:
            failed.add(name)
        finally:
            bench.teardown_method()
    return failed


def test_the_contract_finds_a_store_that_forgets() -> None:
    assert len(failing(StoreContract, lambda clock: _Forgetful(clock=clock))) >= 5


def test_the_contract_finds_a_store_whose_decisions_are_not_atomic() -> None:
    wanted = "test_callers_at_once_never_get_more_than_the_limit"
    assert wanted in failing(StoreContract, lambda clock: _Divided(clock=clock))
    assert wanted in failing(AsyncStoreContract, _Yielding)


def test_the_contract_finds_a_store_that_takes_one_name_for_another() -> None:
    assert failing(StoreContract, lambda clock: _Folding(clock=clock)) == {
        "test_names_that_look_alike_are_counted_apart"
    }


def test_a_contract_without_a_store_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="empty store"):
        StoreContract().setup_method()
