"""Behind a Sentinel: the master is found, and found again after a failover; a demoted one is left."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis.asyncio.sentinel
import redis.sentinel

from threshold import StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.base import Store
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.testing.contract_base import Awaited

from .servers import SentinelServer, Server, valkey_binary

RULE = Rule.of("u", "user", TokenBucket("1000/day"))
PLAN = Plan.of((RULE,), (RULE.scope + "ann",), 1, group="ann")


class Watched:
    """A master, its replica and the Sentinel that watches them."""

    def __init__(self) -> None:
        self.master = Server(valkey_binary(), tcp=True)
        self.replica = Server(valkey_binary(), tcp=True)

    def __enter__(self) -> Watched:
        self.master.start()
        self.replica.start().client().replicaof("127.0.0.1", self.master.port)
        self.wait(lambda: self.replica.client().info("replication")["master_link_status"] == "up")
        self.sentinel = SentinelServer(valkey_binary(), self.master)
        self.sentinel.start()
        ask = self.sentinel.client()
        self.wait(lambda: len(ask.execute_command("SENTINEL", "REPLICAS", "mymaster")) == 1)
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.sentinel, self.replica, self.master):
            server.stop()

    def fails_over(self) -> bool:
        """Ask the Sentinel for a failover, which it grants once it has heard from the replica."""
        try:
            self.sentinel.client().execute_command("SENTINEL", "FAILOVER", "mymaster")
        except redis.ResponseError as error:
            assert "NOGOODSLAVE" in str(error)
            return False
        return True

    @staticmethod
    def wait(until: Callable[[], bool], within: float = 20) -> None:
        deadline = time.monotonic() + within
        while True:
            try:
                if until():
                    return
            except redis.ConnectionError:  # a Sentinel closes connections when it changes roles
                pass
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[Watched], Store]]:
    made: list[Store] = []
    runner = asyncio.Runner()

    def build(watched: Watched) -> Store:
        """One by URL, the other by a client of redis-py's."""
        port = watched.sentinel.port
        options: Any = {"prefix": secrets.token_hex(5), "budget": 0.3, "probe_interval": 0.2}
        store: Any
        if request.param == "blocking":
            store = RedisStore(f"redis+sentinel://127.0.0.1:{port}/mymaster", **options)
        else:
            manager = redis.asyncio.sentinel.Sentinel([("127.0.0.1", port)])
            store = Awaited(AsyncRedisStore(manager.master_for("mymaster"), **options), runner.run)
        made.append(store)
        return store

    yield build
    for store in made:
        store.close()
    runner.close()


def answered(store: Store, within: float = 20) -> tuple[int, int]:
    """Ask until there is an answer; returns what is left, and how many attempts may have been charged too."""
    deadline = time.monotonic() + within
    unsure = 0
    while True:
        try:
            return store.decide(PLAN).found[0][1], unsure
        except StoreUnavailable as error:
            assert time.monotonic() < deadline, f"not found again: {error}"
            unsure += "nothing was charged" not in str(error) and "not asked" not in str(error)
            threading.Event().wait(0.02)


def test_the_master_is_found_again_after_a_failover(make: Callable[[Watched], Store]) -> None:
    with Watched() as watched:
        store = make(watched)
        for _ in range(5):
            left, _ = answered(store)
        Watched.wait(lambda: watched.replica.client().dbsize() > 0)
        watched.master.kill()
        after, unsure = answered(store)
        # The replica had seen the first charge, and perhaps not the last ones: that can a failover cost.
        assert left - 1 - unsure <= after <= 998
        assert watched.replica.client().info("replication")["role"] == "master"


def test_a_demoted_master_is_left_for_the_new_one(make: Callable[[Watched], Store]) -> None:
    with Watched() as watched:
        store = make(watched)
        left, _ = answered(store)
        Watched.wait(watched.fails_over)
        Watched.wait(lambda: watched.replica.client().info("replication")["role"] == "master")
        # The Sentinel would demote the old master itself, in up to ten seconds.
        Watched.wait(lambda: watched.master.client().replicaof("127.0.0.1", watched.replica.port))
        after, unsure = answered(store)
        assert left - 1 - unsure <= after <= left - 1
        assert watched.replica.client().dbsize() == 1
