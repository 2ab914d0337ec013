"""RedisStore and AsyncRedisStore pass the contract on every server found."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.testing import AsyncStoreContract, ManualClock, StoreContract

from .servers import Server


class OnAnyServer:
    """Build the store once the server is there."""

    server: Server

    def setup_method(self) -> None:
        """Wait for the server: see `_on_server`."""

    @pytest.fixture(autouse=True)
    def _on_server(self, any_server: Server) -> None:
        self.server = any_server
        contract: Any = super()
        contract.setup_method()


class TestRedisStore(OnAnyServer, StoreContract):
    def make_store(self, clock: ManualClock) -> RedisStore:
        return RedisStore(self.server.url, prefix=secrets.token_hex(5), clock=clock, remember=0, budget=10)


class TestAsyncRedisStore(OnAnyServer, AsyncStoreContract):
    def make_store(self, clock: ManualClock) -> AsyncRedisStore:
        return AsyncRedisStore(
            self.server.url, prefix=secrets.token_hex(5), clock=clock, remember=0, budget=10
        )
