"""Limiter and AsyncLimiter: the contract a user sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limit_oracle import NEVER, BucketOracle, WindowOracle

from threshold import (
    AsyncLimiter,
    ConfigurationError,
    Limiter,
    MemoryStore,
    RateLimited,
    SlidingWindow,
    TokenBucket,
)
from threshold.plan import Limit, Outcome, Plan, State
from threshold.stores.base import Store
from threshold.testing import ManualClock


class Remote:
    """A store in memory that is awaited, as a remote one would be."""

    asynchronous = True

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def decide(self, plan: Plan) -> Outcome:
        await asyncio.sleep(0)
        return self._store.decide(plan)

    async def refund(self, plan: Plan, at: int) -> None:
        self._store.refund(plan, at)

    async def reset(self, keys: Sequence[str]) -> None:
        await asyncio.sleep(0)
        self._store.reset(keys)

    async def state(self, keys: Sequence[str]) -> list[State]:
        return self._store.state(keys)

    def check(self, limit: Limit) -> None:
        self._store.check(limit)

    async def aclose(self) -> None:
        self._store.close()


class Unbound:
    """A third-party store without `bind`."""

    def __init__(self, store: Store) -> None:
        self.decide, self.refund, self.reset = store.decide, store.refund, store.reset
        self.state, self.check, self.close = store.state, store.check, store.close


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def logins(clock: ManualClock) -> Limiter:
    return Limiter(SlidingWindow("5 per 5 minutes"), store=MemoryStore(clock=clock))


def test_answers_with_everything_a_caller_may_ask(logins: Limiter, clock: ManualClock) -> None:
    decision = logins.acquire("alice")
    assert decision and decision.allowed is True
    assert (decision.limit, decision.remaining) == (5, 4)
    assert (decision.retry_after, decision.retry_after_us) == (0.0, 0)
    assert (decision.reset_after, decision.reset_after_us) == (305.0, 305_000_000)
    refused = logins.acquire("alice", cost=5)
    assert not refused and refused.allowed is False and refused.remaining == 4
    assert (refused.retry_after, refused.retry_after_us) == (305.0, 305_000_000)
    never = logins.acquire("alice", cost=6)
    assert never.allowed is False and never.retry_after is None and never.retry_after_us is None
    assert logins.acquire("bob").remaining == 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3_000_000), st.sampled_from("abc"), st.integers(0, 6)), max_size=40),
    st.booleans(),
)
def test_many_keys_each_agree_with_the_definition(trace: list[tuple[int, str, int]], bound: bool) -> None:
    clock = ManualClock()
    store: Store = MemoryStore(clock=clock)
    store = store if bound else Unbound(store)
    window = Limiter(SlidingWindow("5 per 7 seconds"), store=store, name="w")
    bucket = Limiter(TokenBucket("3/second", burst=4), store=store, name="b")
    windows = {key: WindowOracle(5, 7_000_000, 10) for key in "abc"}
    buckets = {key: BucketOracle(3, 1_000_000, 4) for key in "abc"}
    for pause, key, cost in trace:
        clock.advance_us(pause)
        for limiter, oracle in ((window, windows[key]), (bucket, buckets[key])):
            retry, remaining, reset = oracle.ask(clock(), cost)
            decision = limiter.acquire(key, cost)
            assert decision == (
                retry == 0,
                limiter.limit.limit,
                remaining,
                None if retry == NEVER else retry,
                reset,
            )


def test_peek_says_what_acquire_would_and_takes_nothing(logins: Limiter) -> None:
    for used in range(5):
        glance = logins.peek("alice")
        assert glance.allowed and glance.remaining == 5 - used
        assert logins.acquire("alice").remaining == 4 - used
    glance = logins.peek("alice")
    assert not glance.allowed and glance == logins.acquire("alice")
    assert logins.peek("alice", cost=6).retry_after is None
    assert logins.peek("nobody").reset_after == 0.0


def test_reset_forgets_one_key(logins: Limiter) -> None:
    for key in ("alice", "bob"):
        assert logins.acquire(key, cost=5)
    logins.reset("alice")
    logins.reset("nobody")
    assert logins.acquire("alice").remaining == 4
    assert not logins.acquire("bob")


def test_require_raises_with_the_decision(logins: Limiter) -> None:
    assert logins.require("alice", cost=5).remaining == 0
    with pytest.raises(RateLimited, match=r"try again in 305\.000 s") as caught:
        logins.require("alice")
    assert caught.value.decision == logins.acquire("alice")
    with pytest.raises(RateLimited, match="never"):
        logins.require("alice", cost=6)


def test_limiters_share_by_name_and_limit_only() -> None:
    store = MemoryStore(clock=ManualClock())
    first = Limiter(SlidingWindow("5/minute"), store=store)
    assert first.acquire("alice", cost=5)
    assert not Limiter(SlidingWindow("5/minute"), store=store).acquire("alice")
    assert Limiter(SlidingWindow("5/minute"), store=store, name="other").acquire("alice")
    assert Limiter(SlidingWindow("6/minute"), store=store).acquire("alice")
    assert Limiter(TokenBucket("5/minute"), store=store).acquire("alice")


@pytest.mark.parametrize("key", [None, 5, b"alice", 1.5, ("a",), object()])
def test_a_key_must_be_text(logins: Limiter, key: str) -> None:
    for call in (logins.acquire, logins.peek, logins.reset, logins.require, logins.wait):
        with pytest.raises(TypeError, match=r"^key: .* is not a str; name the caller"):
            call(key)


def test_an_error_of_the_store_is_not_mistaken_for_one_of_the_key(
    monkeypatch: pytest.MonkeyPatch, logins: Limiter
) -> None:
    def broken(key: str, cost: int) -> None:
        raise TypeError("a fault of the store")

    monkeypatch.setattr(logins, "_take", broken)
    with pytest.raises(TypeError, match="a fault of the store"):
        logins.acquire("alice")


def test_an_empty_key_names_nobody(logins: Limiter) -> None:
    for call in (logins.acquire, logins.peek, logins.reset, logins.require, logins.wait):
        with pytest.raises(ValueError, match="names nobody"):
            call("")


@pytest.mark.parametrize(
    ("cost", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), (None, TypeError), ("1", TypeError)],
)
def test_a_bad_cost_is_refused_and_takes_nothing(logins: Limiter, cost: int, error: type[Exception]) -> None:
    for call in (logins.acquire, logins.peek, logins.require, logins.wait):
        with pytest.raises(error, match="cost"):
            call("alice", cost)
    assert logins.peek("alice").remaining == 5


def test_says_what_is_wrong_with_its_parts() -> None:
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match="limit"):
        Limiter("5/minute", store=store)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="store"):
        Limiter(TokenBucket("5/minute"), store={})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="AsyncLimiter"):
        Limiter(TokenBucket("5/minute"), store=Remote(store))  # type: ignore[arg-type]
    for name in ("", "a\0b", None):
        with pytest.raises(ConfigurationError, match="name"):
            Limiter(TokenBucket("5/minute"), store=store, name=name)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Limiter, AsyncLimiter])
def test_a_class_in_place_of_a_limit_or_a_store_is_refused(kind: type[Limiter] | type[AsyncLimiter]) -> None:
    with pytest.raises(ConfigurationError, match=r"^limit: .*; call it: TokenBucket\(\.\.\.\)$"):
        kind(TokenBucket, store=MemoryStore())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^store: .*; call it: MemoryStore\(\)$"):
        kind(TokenBucket("5/minute"), store=MemoryStore)  # type: ignore[arg-type]


def test_a_blocking_store_is_refused_where_it_would_stop_the_loop() -> None:
    store = MemoryStore()
    store.blocking = True  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="event loop"):
        AsyncLimiter(TokenBucket("5/minute"), store=store)


def test_wait_returns_at_once_when_admitted_and_when_it_would_be_in_vain(logins: Limiter) -> None:
    begin = time.monotonic()
    assert logins.wait("alice", cost=5).allowed
    assert not logins.wait("alice", timeout=0)
    assert not logins.wait("alice", timeout=304.9)
    assert logins.wait("alice", cost=6).retry_after is None
    assert time.monotonic() - begin < 5


def test_wait_sleeps_until_admitted() -> None:
    limiter = Limiter(TokenBucket("100/second", burst=1), store=MemoryStore())
    begin = time.monotonic()
    assert all(limiter.wait("alice", timeout=30) for _ in range(4))
    assert time.monotonic() - begin >= 0.0299


def test_wait_asks_again_when_somebody_was_quicker(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    limiter = Limiter(TokenBucket("1/second"), store=MemoryStore(clock=clock))
    limiter.acquire("alice")
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        clock.advance(seconds)
        if len(naps) == 1:
            limiter.acquire("alice")  # a rival

    monkeypatch.setattr("threshold.limiter.time.sleep", nap)
    assert limiter.wait("alice")
    assert naps == [1.0, 1.0]


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_wait_refuses_a_timeout_without_sense(logins: Limiter, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        logins.wait("alice", timeout=timeout)
    assert logins.peek("alice").remaining == 5


@pytest.mark.parametrize("timeout", ["5", True, b"5", [5]])
def test_wait_refuses_a_timeout_that_is_no_number(logins: Limiter, timeout: float) -> None:
    with pytest.raises(TypeError, match=r"^timeout: .* is not a number; give seconds"):
        logins.wait("alice", timeout=timeout)
    assert logins.peek("alice").remaining == 5


@pytest.mark.parametrize("remote", [False, True])
def test_async_answers_as_sync_does(remote: bool) -> None:
    async def talk() -> None:
        clock = ManualClock()
        store = MemoryStore(clock=clock)
        limiter = AsyncLimiter(SlidingWindow("5 per 5 minutes"), store=Remote(store) if remote else store)
        plain = Limiter(SlidingWindow("5 per 5 minutes"), store=MemoryStore(clock=clock))
        for cost in (1, 0, 3, 2, 6, 1, 1):
            assert await limiter.peek("alice", cost) == plain.peek("alice", cost)
            assert await limiter.acquire("alice", cost) == plain.acquire("alice", cost)
            clock.advance(17.5)
        with pytest.raises(RateLimited) as caught:
            await limiter.require("alice")
        assert caught.value.decision == plain.acquire("alice")
        assert not await limiter.wait("alice", timeout=1)
        await limiter.reset("alice")
        assert (await limiter.require("alice", cost=5)).remaining == 0
        for bad, error in (("", ValueError), (None, TypeError), (7, TypeError)):
            for call in (limiter.acquire, limiter.peek, limiter.reset, limiter.require, limiter.wait):
                with pytest.raises(error):
                    await call(bad)  # type: ignore[arg-type]
        for cost in (-1, True, 1.0):
            with pytest.raises((ValueError, TypeError)):
                await limiter.acquire("alice", cost)  # type: ignore[arg-type]

    asyncio.run(talk())


def test_async_wait_lets_other_tasks_go_on() -> None:
    async def talk() -> None:
        limiter = AsyncLimiter(TokenBucket("100/second", burst=1), store=MemoryStore())
        await limiter.acquire("alice")
        order = []

        async def patient() -> None:
            assert await limiter.wait("alice", timeout=30)
            order.append("admitted")

        async def busy() -> None:
            order.append("busy")

        await asyncio.gather(patient(), busy())
        assert order == ["busy", "admitted"]
        assert not await limiter.wait("alice", timeout=0)

    asyncio.run(talk())


def test_async_callers_share_one_limit_exactly() -> None:
    async def talk() -> None:
        limiter = AsyncLimiter(SlidingWindow("50/hour"), store=Remote(MemoryStore()))
        decisions = await asyncio.gather(*(limiter.acquire("alice") for _ in range(200)))
        assert sum(decision.allowed for decision in decisions) == 50

    asyncio.run(talk())


def test_a_key_counts_by_its_text_whatever_its_class_calls_equal() -> None:
    class Name(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return 7

    limiter = Limiter(SlidingWindow("5/hour"), MemoryStore(clock=ManualClock()))
    limiter.acquire("ann")
    limiter.acquire(Name("ann"))
    assert limiter.peek("ann").remaining == limiter.peek(Name("ann")).remaining == 3
    limiter.reset(Name("ann"))
    assert limiter.peek("ann").remaining == 5
