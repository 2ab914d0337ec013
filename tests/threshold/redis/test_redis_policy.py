"""The stores under a whole policy: each layer's answer while the server is away, and the fallback."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from threshold import AsyncLimiter, ConfigurationError, Limiter, MemoryStore, StoreUnavailable, TokenBucket
from threshold.events import Event, StoreFailed, StoreRecovered
from threshold.policy import Policy
from threshold.stores.redis import AsyncFallbackStore, AsyncRedisStore, FallbackStore, RedisStore
from threshold.threshold import AsyncThreshold, Threshold
from threshold.verdict import Caller

from .servers import Server, valkey_binary

BOB = Caller(address="203.0.113.9", user="bob", method="GET", path="/")


@pytest.mark.parametrize(
    ("mode", "statuses"), [("allow", [200, 200, 200]), ("deny", [503] * 3), ("local", [200, 200, 429])]
)
def test_while_the_server_is_away_each_layer_says_what_happens(mode: str, statuses: list[int]) -> None:
    policy = Policy(user="2/minute", on_store_error=mode)  # type: ignore[arg-type]
    away = Server(valkey_binary())
    events: list[Event] = []
    guard = Threshold(policy, store=RedisStore(away.url), hooks=[events.append])
    assert [guard.check(BOB).status for _ in range(3)] == statuses
    assert [type(event) for event in events if isinstance(event, StoreFailed)] == [StoreFailed]
    guard.close()

    async def main() -> list[int]:
        guard = AsyncThreshold(policy, store=AsyncRedisStore(away.url))
        told = [(await guard.check(BOB)).status for _ in range(3)]
        await guard.aclose()
        return told

    assert asyncio.run(main()) == statuses
    away.stop()


def test_failure_and_recovery_are_told_once_each(own_server: Server) -> None:
    events: list[type[Event]] = []
    store = RedisStore(own_server.url, prefix=secrets.token_hex(4), budget=0.5, probe_interval=0.05)
    policy = Policy(user="1000/minute")
    guard = Threshold(policy, store=store, hooks=[lambda event: events.append(type(event))])
    assert guard.check(BOB).status == 200
    own_server.kill()
    for _ in range(20):
        assert guard.check(BOB).status == 200
    own_server.start()
    while StoreRecovered not in events:
        assert guard.check(BOB).status == 200
    assert events == [StoreFailed, StoreRecovered]
    guard.close()


def test_the_fallback_decides_locally_and_hands_back(own_server: Server) -> None:
    switches: list[bool] = []
    remote = RedisStore(own_server.url, prefix=secrets.token_hex(4), budget=0.5, probe_interval=0.05)
    store = FallbackStore(remote, MemoryStore(), on_switch=lambda local, _: switches.append(local))
    pace = Limiter(TokenBucket("3/day"), store)
    assert [pace.acquire("ann").remaining for _ in range(2)] == [2, 1]
    own_server.kill()
    assert [pace.acquire("ann").allowed for _ in range(4)] == [True, True, True, False]
    own_server.start()
    while store.is_local:
        pace.peek("ann")
    assert pace.acquire("ann").remaining == 2  # the new server knows nothing, and is believed
    assert switches == [True, False]
    store.close()


def test_the_awaited_fallback_does_the_same(own_server: Server) -> None:
    async def main() -> None:
        remote = AsyncRedisStore(own_server.url, prefix=secrets.token_hex(4), budget=0.5)
        store = AsyncFallbackStore(remote, MemoryStore())
        pace = AsyncLimiter(TokenBucket("2/day"), store)
        assert (await pace.acquire("ann")).remaining == 1
        own_server.kill()
        assert [(await pace.acquire("ann")).allowed for _ in range(3)] == [True, True, False]
        await store.aclose()

    asyncio.run(main())


def test_a_refund_goes_where_the_charge_was_made(own_server: Server) -> None:
    remote = RedisStore(own_server.url, prefix=secrets.token_hex(4), budget=0.5, probe_interval=60)
    store = FallbackStore(remote, MemoryStore())
    pace = Limiter(TokenBucket("3/day"), store)
    from threshold.plan import Plan, Rule

    rule = Rule.of("u", "user", TokenBucket("3/day"))
    plan = Plan.of((rule,), (rule.scope + "ann",), 1, group="ann")
    charged = store.decide(plan)
    own_server.kill()
    store.decide(plan)
    assert store.is_local
    with pytest.raises(StoreUnavailable):
        store.refund(plan, charged.at)
    assert store.decide(plan).found[0][1] == 1
    assert pace.peek("ann").remaining == 3
    store.close()


def test_stores_of_the_wrong_kind_are_refused_by_name() -> None:
    url = "redis://127.0.0.1:1/0"
    limit = TokenBucket("1/minute")
    with pytest.raises(ConfigurationError, match="async twin"):
        AsyncLimiter(limit, RedisStore(url))
    with pytest.raises(ConfigurationError, match="AsyncLimiter"):
        Limiter(limit, AsyncRedisStore(url))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="AsyncFallbackStore"):
        FallbackStore(AsyncRedisStore(url), MemoryStore())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="FallbackStore"):
        AsyncFallbackStore(RedisStore(url), MemoryStore())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="local"):
        FallbackStore(RedisStore(url), RedisStore(url))
    with pytest.raises(ConfigurationError, match="async twin"):
        AsyncThreshold(Policy(user="1/minute"), store=FallbackStore(RedisStore(url), MemoryStore()))
