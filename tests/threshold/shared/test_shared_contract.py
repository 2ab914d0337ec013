"""The conformance suite on shared memory: through one handle, through several, near the bound, in extents."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Sequence
from typing import ClassVar

from threshold.plan import Limit, Outcome, Plan, State
from threshold.stores.shared import SharedMemoryStore
from threshold.testing import ManualClock, StoreContract

_numbers = itertools.count()


class TestSharedMemoryStore(StoreContract):
    max_keys: ClassVar[int] = 5_000

    def make_store(self, clock: ManualClock) -> SharedMemoryStore:
        self._name = f"contract-{os.getpid()}-{secrets.token_hex(4)}-{next(_numbers)}"
        return SharedMemoryStore(self._name, self.max_keys, clock=clock)

    def teardown_method(self) -> None:
        super().teardown_method()
        SharedMemoryStore.remove(self._name)


class TestSharedMemoryStoreAtTheStartOfTime(TestSharedMemoryStore):
    start_us = 10**12


class TestSharedMemoryStoreOfOneRow(TestSharedMemoryStore):
    """Always close to its bound."""

    max_keys = 64


class _Handles:
    """Several open handles on one file; each call goes to the next, as the workers of a server would call."""

    def __init__(self, name: str, max_keys: int, clock: ManualClock) -> None:
        self._stores = [SharedMemoryStore(name, max_keys, clock=clock) for _ in range(3)]
        self._turn = itertools.cycle(self._stores)

    def decide(self, plan: Plan) -> Outcome:
        return next(self._turn).decide(plan)

    def refund(self, plan: Plan, at: int) -> None:
        next(self._turn).refund(plan, at)

    def reset(self, keys: Sequence[str]) -> None:
        next(self._turn).reset(keys)

    def state(self, keys: Sequence[str]) -> list[State]:
        return next(self._turn).state(keys)

    def check(self, limit: Limit) -> None:
        next(self._turn).check(limit)

    def close(self) -> None:
        for store in self._stores:
            store.close()


class TestSeveralHandlesOnOneFile(TestSharedMemoryStore):
    def make_store(self, clock: ManualClock) -> _Handles:  # type: ignore[override]
        self._name = f"contract-{os.getpid()}-{secrets.token_hex(4)}-{next(_numbers)}"
        return _Handles(self._name, self.max_keys, clock)
