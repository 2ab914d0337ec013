"""A charge is never repeated: replies are lost, and the server is asked what it did."""

from __future__ import annotations

import asyncio
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from threshold import ConfigurationError, StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.redis import AsyncRedisStore, RedisStore

from .proxy import Proxy
from .servers import Server

RULE = Rule.of("calls", "limiter", TokenBucket("1000/day"))
BUDGET = 0.05


def plan_for(who: str, *, peek: bool = False) -> Plan:
    return Plan.of((RULE,), (RULE.scope + who,), 1, group=who, peek=peek)


@pytest.fixture
def proxy(shared_server: Server) -> Iterator[Proxy]:
    with Proxy(shared_server.socket) as proxy:
        yield proxy


def used(server: Server, prefix: str, who: str) -> int:
    """What the server has charged, asked past the proxy."""
    store = RedisStore(server.url, prefix=prefix, budget=10)
    left = store.decide(plan_for(who, peek=True)).found[0][1]
    store.close()
    return 1000 - left


def answered(store: RedisStore, who: str) -> int:
    """Ask until there is an answer, a busy machine being no fault; returns what was left."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return store.decide(plan_for(who)).found[0][1]
        except StoreUnavailable:
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)


def lateness_of_this_machine() -> float:
    """By how much a bare socket exceeds the same time-out just now."""
    near, far = socket.socketpair()
    near.settimeout(BUDGET)
    before = time.monotonic()
    with near, far, pytest.raises(TimeoutError):
        near.recv(1)
    return time.monotonic() - before - BUDGET


def unsafe_client(proxy: Proxy) -> redis.Redis:
    """All that charges twice: ten retries, also after time-outs, and patience."""
    return redis.Redis(
        host="127.0.0.1",
        port=proxy.port,
        socket_timeout=5,
        retry=Retry(NoBackoff(), 10),
        retry_on_error=[redis.TimeoutError, redis.ConnectionError],
        decode_responses=True,
        protocol=3,
    )


@pytest.mark.parametrize("given", ["url", "client"])
def test_a_lost_reply_is_one_charge_and_an_error_within_the_budget(
    shared_server: Server, proxy: Proxy, given: str
) -> None:
    prefix = secrets.token_hex(5)
    late = []
    for attempt in range(7):
        client = unsafe_client(proxy)
        proxy.drop_replies = False
        server = proxy.url if given == "url" else client
        store = RedisStore(server, prefix=prefix, budget=BUDGET, probe_interval=0.01)
        answered(store, f"warm{attempt}")
        proxy.drop_replies = True
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="unknown"):
            store.decide(plan_for("ann"))
        late.append(time.monotonic() - before - BUDGET - lateness_of_this_machine())
        store.close()
        client.close()
        assert used(shared_server, prefix, "ann") == attempt + 1
    assert statistics.median(late) <= 0.010, late


def test_a_lost_reply_is_one_charge_for_every_waiter_of_a_batch(shared_server: Server, proxy: Proxy) -> None:
    prefix = secrets.token_hex(5)

    async def main() -> float:
        store = AsyncRedisStore(proxy.url, prefix=prefix, budget=BUDGET, probe_interval=0.01)
        while True:
            try:
                await store.decide(plan_for("warm"))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.02)
        proxy.drop_replies = True
        before = time.monotonic()
        answers = await asyncio.gather(
            *(store.decide(plan_for("ann")) for _ in range(20)), return_exceptions=True
        )
        took = time.monotonic() - before
        assert all(isinstance(answer, StoreUnavailable) for answer in answers), answers
        await store.aclose()
        return took

    late = []
    for attempt in range(5):
        proxy.drop_replies = False
        late.append(asyncio.run(main()) - BUDGET - lateness_of_this_machine())
        assert used(shared_server, prefix, "ann") == 20 * (attempt + 1)
    assert statistics.median(late) <= 0.010, late


def test_a_late_reply_is_not_mistaken_for_the_next_one(shared_server: Server, proxy: Proxy) -> None:
    prefix = secrets.token_hex(5)
    store = RedisStore(proxy.url, prefix=prefix, budget=BUDGET, probe_interval=0.01)
    left = answered(store, "ann")
    proxy.drop_replies = True
    with pytest.raises(StoreUnavailable):
        store.decide(plan_for("bob"))
    proxy.drop_replies = False
    assert answered(store, "ann") < left < 1000
    assert used(shared_server, prefix, "bob") == 1
    store.close()


def test_a_server_that_drips_its_reply_does_not_stretch_the_budget(shared_server: Server) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def drip() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            try:
                for byte in b"$1000\r\n" + b"x" * 1000:
                    peer.sendall(bytes([byte]))
                    if done.wait(0.02):
                        return
            except OSError:
                return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", budget=BUDGET)
    before = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.decide(plan_for("ann"))
    took = time.monotonic() - before
    done.set()
    thread.join(5)
    listener.close()
    store.close()
    assert took < 4 * BUDGET, f"{took:.3f} s"


def test_a_client_is_left_as_it_was_and_stays_open(shared_server: Server) -> None:
    client = shared_server.client(decode_responses=True)
    before = dict(client.connection_pool.connection_kwargs)
    store = RedisStore(client, prefix=secrets.token_hex(5), budget=10)
    assert store.decide(plan_for("ann")).allowed
    store.close()
    assert client.ping() is True
    assert client.connection_pool.connection_kwargs == before
    client.close()


def test_clients_of_the_other_kind_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="AsyncRedisStore"):
        RedisStore(redis.asyncio.Redis())
    with pytest.raises(ConfigurationError, match="blocks"):
        AsyncRedisStore(redis.Redis())
    with pytest.raises(ConfigurationError, match="redis://"):
        RedisStore("localhost:6379")
    with pytest.raises(ConfigurationError, match="redis://"):
        RedisStore(42)


def test_clients_that_read_from_replicas_are_refused() -> None:
    from redis.sentinel import Sentinel

    replicas = Sentinel([("127.0.0.1", 1)]).slave_for("mymaster")
    with pytest.raises(ConfigurationError, match="master_for"):
        RedisStore(replicas)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("budget", 0),
        ("budget", 60),
        ("budget", "1"),
        ("remember", -1),
        ("remember", 2),
        ("probe_interval", 0),
        ("prefix", "a key:"),
        ("prefix", ""),
        ("secret", "text"),
        ("on_trouble", 1),
        ("clock", 7),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(option: str, value: object) -> None:
    for store in (RedisStore, AsyncRedisStore):
        with pytest.raises(ConfigurationError, match=option):
            store("redis://localhost/0", **{option: value})


def test_limits_that_doubles_cannot_count_are_refused_by_name() -> None:
    store = RedisStore("redis://localhost/0")
    with pytest.raises(ConfigurationError, match="burst of 142 or less"):
        store.check(TokenBucket("999983/year", burst=10**6))
