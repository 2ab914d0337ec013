"""Faults of a real server: what callers see, and an audit of what was admitted."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from threshold import StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.base import Store
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.testing.contract_base import Awaited

from .servers import Server, valkey_binary

LIMIT = 300
RULE = Rule.of("calls", "limiter", TokenBucket("1/day", burst=LIMIT))
BUDGET = 0.15
PROBE = 0.4
PATIENT = 5.0
"""Budget of the tests that are not about time: this machine may be busy."""

Make = Callable[..., Store]


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Builds stores of both kinds, both seen as blocking ones; closes them at the end."""
    made: list[Store] = []
    runner = asyncio.Runner()

    def build(server: object, **options: Any) -> Store:
        options = {"prefix": secrets.token_hex(5), "budget": BUDGET, "probe_interval": PROBE, **options}
        store: Any = (
            RedisStore(server, **options)
            if request.param == "blocking"
            else Awaited(AsyncRedisStore(server, **options), runner.run)
        )
        made.append(store)
        return store

    yield build
    for store in made:
        store.close()
    runner.close()


def plan_for(who: str = "ann", *, peek: bool = False) -> Plan:
    return Plan.of((RULE,), (RULE.scope + who,), 1, group=who, peek=peek)


class Storm:
    """Ask again and again, and keep count of what callers saw."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: Counter[str] = Counter()
        self.slow = 0
        """Calls that cost a caller half the budget or more."""
        self._pause = threading.Event()

    def once(self, who: str = "ann") -> str:
        before = time.monotonic()
        try:
            word = "admitted" if self.store.decide(plan_for(who)).allowed else "refused"
        except StoreUnavailable as error:
            word = "not charged" if "nothing was charged" in str(error) else "unknown"
            if "not asked" in str(error):
                word = "not asked"
        self.slow += time.monotonic() - before >= BUDGET / 2
        self.seen[word] += 1
        return word

    def blow(self, seconds: float) -> None:
        """Ask for so long, every millisecond or so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.once()
            self._pause.wait(0.001)

    def until_answered(self, within: float = 5.0) -> float:
        """Ask until the store answers; returns the seconds that took."""
        start = time.monotonic()
        while self.once() not in ("admitted", "refused"):
            assert time.monotonic() - start < within, self.seen
            self._pause.wait(0.002)
        return time.monotonic() - start


def charged(server: Server, store: Any) -> int:
    """What the server holds against ann, read without the store's connections."""
    prefix = next(iter(server.client().scan_iter(count=1000)), b"").split(b":")[0].decode()
    if not prefix:
        return 0
    with_clean_hands = RedisStore(server.url, prefix=prefix, budget=5)
    left = with_clean_hands.decide(plan_for(peek=True)).found[0][1]
    with_clean_hands.close()
    return LIMIT - left


def test_killed_and_restarted_it_is_found_again_and_no_life_admits_too_much(
    make: Make, own_server: Server
) -> None:
    told: list[tuple[str, str]] = []
    storm = Storm(make(own_server.url, on_trouble=lambda what, why: told.append((what, why))))
    storm.blow(0.15)
    first = storm.seen["admitted"]
    own_server.kill()
    storm.blow(0.5)
    away = storm.seen.copy()
    assert away["not asked"] > away["unknown"] + away["not charged"], away
    assert away["admitted"] == first
    own_server.start()
    assert storm.until_answered() < PROBE + 2
    storm.blow(0.1)
    assert 0 < first <= LIMIT
    assert storm.seen["admitted"] - first <= LIMIT  # nothing was saved: the new life starts afresh
    assert charged(own_server, storm.store) == storm.seen["admitted"] - first
    assert [what for what, _ in told] == ["opened", "closed"], told


def test_frozen_for_three_seconds_it_costs_one_slow_call_per_probe(make: Make, own_server: Server) -> None:
    told: list[str] = []
    storm = Storm(make(own_server.url, on_trouble=lambda what, _: told.append(what)))
    storm.until_answered()
    storm.slow = 0
    own_server.freeze()
    try:
        storm.blow(3)
    finally:
        own_server.thaw()
    assert 1 <= storm.slow <= 3 / PROBE + 1, storm.slow
    assert storm.seen["not asked"] > 100
    assert storm.until_answered() < PROBE + 2
    assert told[0] == "opened"
    assert told[-1] == "closed"
    # What callers never got an answer to may have been charged, and nothing else.
    assert storm.seen["admitted"] <= charged(own_server, storm.store)
    assert charged(own_server, storm.store) <= storm.seen["admitted"] + storm.seen["unknown"]


def test_flushed_scripts_are_sent_again_and_no_caller_notices(make: Make, own_server: Server) -> None:
    storm = Storm(make(own_server.url, budget=PATIENT))
    client = own_server.client()
    for _ in range(5):
        storm.once()
        client.script_flush()
    assert storm.seen == {"admitted": 5}
    assert charged(own_server, storm.store) == 5
    client.close()


def test_killed_connections_cost_no_more_than_the_calls_on_them(make: Make, own_server: Server) -> None:
    storm = Storm(make(own_server.url, budget=PATIENT))
    client = own_server.client()
    for _ in range(10):
        storm.once()
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        storm.once()
    assert storm.seen["admitted"] >= 10
    assert storm.seen["admitted"] + storm.seen["unknown"] == 20, storm.seen
    assert storm.seen["admitted"] <= charged(own_server, storm.store) <= 20
    client.close()


def test_refused_at_start_it_is_found_when_it_comes(make: Make) -> None:
    server = Server(valkey_binary())
    storm = Storm(make(server.url))
    storm.blow(0.1)
    assert storm.seen["not charged"] == 1
    assert storm.seen["not asked"] == storm.seen.total() - 1
    assert storm.slow <= 1
    with server:
        assert storm.until_answered() < PROBE + 2
        assert charged(server, storm.store) == 1


def test_out_of_memory_is_unavailable_and_charges_nothing(make: Make, own_server: Server) -> None:
    storm = Storm(make(own_server.url, budget=PATIENT))
    assert storm.once() == "admitted"
    client = own_server.client()
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match=r"out of memory.*nothing was charged"):
        storm.store.decide(plan_for())
    client.config_set("maxmemory", 0)
    assert storm.once() == "admitted"  # no circuit opened: the server had answered
    assert charged(own_server, storm.store) == 2
    client.close()


def test_a_replica_says_so_and_counts_once_promoted(make: Make, own_server: Server) -> None:
    with Server(valkey_binary(), tcp=True) as master:
        client = own_server.client()
        client.replicaof("127.0.0.1", master.port)
        deadline = time.monotonic() + 10
        while client.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        storm = Storm(make(own_server.url, budget=PATIENT))
        with pytest.raises(StoreUnavailable, match=r"replica.*nothing was charged"):
            storm.store.decide(plan_for())
        client.replicaof("NO", "ONE")
        assert storm.once() == "admitted"
        assert charged(own_server, storm.store) == 1
        client.close()


DOCUMENTED = ["+evalsha", "+eval", "+time", "+get", "+mget", "+psetex", "+set", "+del", "~lim:*"]


def test_the_documented_permissions_are_all_it_needs(make: Make, own_server: Server) -> None:
    client = own_server.client()
    client.execute_command("ACL", "SETUSER", "limiter", "on", ">pw", "resetkeys", "-@all", *DOCUMENTED)
    url = own_server.url.replace("unix://", "unix://limiter:pw@")
    store = make(url, prefix="lim", budget=PATIENT)
    outcome = store.decide(plan_for())
    assert outcome.allowed
    store.refund(plan_for(), outcome.at)
    store.reset(plan_for().keys)
    assert store.state(plan_for().keys) == [None]
    for missing in ("evalsha", "psetex", "time"):
        client.execute_command("ACL", "SETUSER", "limiter", f"-{missing}")
        with pytest.raises(
            StoreUnavailable, match=r"(permission|can't run this command).*nothing was charged"
        ):
            store.decide(plan_for())
        client.execute_command("ACL", "SETUSER", "limiter", f"+{missing}")
    with pytest.raises(StoreUnavailable, match="permission"):
        make(url, prefix="other", budget=PATIENT).decide(plan_for())
    with pytest.raises(StoreUnavailable, match="nothing was charged"):
        make(own_server.url.replace("unix://", "unix://limiter:wrong@"), prefix="lim", budget=PATIENT).decide(
            plan_for()
        )
    assert store.decide(plan_for()).allowed
    client.close()


def test_warns_once_of_a_server_that_may_evict(make: Make, own_server: Server) -> None:
    client = own_server.client()
    client.config_set("maxmemory", 10**9)
    for policy, warned in (("allkeys-lru", True), ("volatile-lru", True), ("noeviction", False)):
        client.config_set("maxmemory-policy", policy)
        told: list[tuple[str, str]] = []
        store = make(
            own_server.url, budget=PATIENT, on_trouble=lambda what, why, told=told: told.append((what, why))
        )
        assert store.decide(plan_for()).allowed
        assert store.decide(plan_for()).allowed
        assert [what for what, _ in told] == (["warning"] if warned else [])
        assert not warned or policy in told[0][1]
    client.close()
