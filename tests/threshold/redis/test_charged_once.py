"""A charge is never repeated: replies are lost, and the server is asked what it did."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator

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
PROMPT = 0.010
"""Seconds after the budget within which an error must be there."""


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


def charged(server: Server, prefix: str, who: str, at_least: int) -> int:
    """What the server has charged once it has charged so much: a busy machine may bring it what was asked
    only after the budget."""
    deadline = time.monotonic() + 10
    while (found := used(server, prefix, who)) < at_least:
        assert time.monotonic() < deadline, f"{found} of {at_least}"
        threading.Event().wait(0.01)
    return found


def least_excess(took: Callable[[int], float]) -> float:
    """Lose replies five times, and on until an error has come promptly once; returns by how much the most
    prompt one exceeded the budget. A busy machine delays some of them, a store that stretches its budget all.
    """
    least = float("inf")
    for attempt in range(50):
        least = min(least, took(attempt) - BUDGET)
        if attempt >= 4 and least <= PROMPT:
            break
    return least


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

    def lose(attempt: int) -> float:
        client = unsafe_client(proxy)
        proxy.drop_replies = False
        server = proxy.url if given == "url" else client
        store = RedisStore(server, prefix=prefix, budget=BUDGET, probe_interval=0.01)
        answered(store, f"warm{attempt}")
        proxy.drop_replies = True
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="unknown"):
            store.decide(plan_for("ann"))
        took = time.monotonic() - before
        store.close()
        client.close()
        assert charged(shared_server, prefix, "ann", attempt + 1) == attempt + 1
        return took

    assert least_excess(lose) <= PROMPT


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

    def lose(attempt: int) -> float:
        proxy.drop_replies = False
        took = asyncio.run(main())
        assert charged(shared_server, prefix, "ann", 20 * (attempt + 1)) == 20 * (attempt + 1)
        return took

    assert least_excess(lose) <= PROMPT


def test_a_late_reply_is_not_mistaken_for_the_next_one(shared_server: Server, proxy: Proxy) -> None:
    prefix = secrets.token_hex(5)
    store = RedisStore(proxy.url, prefix=prefix, budget=BUDGET, probe_interval=0.01)
    left = answered(store, "ann")
    proxy.drop_replies = True
    with pytest.raises(StoreUnavailable):
        store.decide(plan_for("bob"))
    proxy.drop_replies = False
    assert answered(store, "ann") < left < 1000
    assert charged(shared_server, prefix, "bob", 1) == 1
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
    assert took < 2, f"{took:.3f} s; the whole reply takes 20 s"


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
