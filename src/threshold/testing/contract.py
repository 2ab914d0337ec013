"""StoreContract: the conformance suite. What passes it is a store; what does not is none.

Subclass it in a file that pytest collects, and say how an empty store is built:

    class TestMyStore(StoreContract):
        def make_store(self, clock):
            return MyStore(clock=clock)
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from .clock import ManualClock
from .contract_base import Awaited
from .contract_crowds import CrowdContract
from .contract_limits import LimitContract
from .contract_parity import ParityContract
from .contract_rules import LadderContract, RuleContract
from .contract_upkeep import UpkeepContract


class StoreContract(
    LimitContract, RuleContract, LadderContract, UpkeepContract, ParityContract, CrowdContract
):
    """Hold a store to the contract: limits, ladder, upkeep, parity with the engine, callers at once.

    `make_store(clock)` returns an empty store for each test. A store that lives elsewhere takes care of its
    own key prefix. Needs no pytest to be imported, only to be run.
    """


class AsyncStoreContract(StoreContract):
    """The same for stores that are awaited: each test has an event loop of its own.

    `make_store(clock)` returns the store, or a coroutine that makes it on that loop.
    """

    def setup_method(self) -> None:
        self.clock = ManualClock(self.start_us)
        self.runner = asyncio.Runner()
        made = self.make_store(self.clock)
        store: Any = self.runner.run(made) if inspect.iscoroutine(made) else made
        assert store.asynchronous is True, "an asynchronous store says so"
        self.store = Awaited(store, self.runner.run)

    def teardown_method(self) -> None:
        super().teardown_method()
        self.runner.close()
