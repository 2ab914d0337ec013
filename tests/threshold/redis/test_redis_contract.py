"""RedisStore passes the contract on every server found."""

from __future__ import annotations

import secrets

import pytest

from threshold.stores.redis import RedisStore
from threshold.testing import ManualClock, StoreContract

from .servers import Server


class TestRedisStore(StoreContract):
    start_us = 1_700_000_000_000_000

    @pytest.fixture(autouse=True)
    def _server(self, any_server: Server) -> None:
        self.server = any_server

    def setup_method(self) -> None:
        pass

    @pytest.fixture(autouse=True)
    def _ready(self, _server: None) -> None:
        super().setup_method()

    def make_store(self, clock: ManualClock) -> RedisStore:
        return RedisStore(self.server.url, prefix=secrets.token_hex(5), clock=clock, remember=0)
