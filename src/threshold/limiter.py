"""Limiter and AsyncLimiter: one limit, no HTTP. For jobs, clients and anything with a key.

The limit and the store do the work; here keys and costs are checked, and answers become Decisions.
"""

from __future__ import annotations

import time
from typing import cast

from .decision import Decision
from .errors import ConfigurationError, RateLimited
from .plan import Found, Limit, Plan, Rule
from .rate import SECOND
from .stores.base import AsyncStore, Store, Take, bind
from .token_bucket import NEVER

_new = tuple.__new__
_ONE = 1


class Limiter:
    """Apply one limit to many keys.

    Args:
        limit: a `TokenBucket` or a `SlidingWindow`.
        store: where the state lives. Limiters with the same name and limit on one store share state.
        name: tells this limiter from others with an equal limit on the same store; no NUL.

    Raises:
        ConfigurationError: when an argument is not what it should be.

    >>> from threshold import Limiter, MemoryStore, SlidingWindow
    >>> logins = Limiter(SlidingWindow("5 per 5 minutes"), store=MemoryStore())
    >>> d = logins.acquire("alice")
    >>> d.allowed, d.limit, d.remaining
    (True, 5, 4)
    """

    def __init__(self, limit: Limit, store: Store, *, name: str = "limiter") -> None:
        if getattr(store, "asynchronous", False):
            raise ConfigurationError("store", store, "this store is awaited: use AsyncLimiter")
        self.limit = limit
        self.store = store
        self._rule = _rule(limit, store, name)
        self._scope = self._rule.scope
        self._capacity = limit.limit
        self._take: Take = bind(store, self._rule)

    def acquire(self, key: str, cost: int = 1) -> Decision:
        """Charge `cost` requests to `key` if the limit admits them, and say so.

        Args:
            key: who is counted; a non-empty str, e.g. an account name.
            cost: requests to charge, 0 or more. Above the limit it can never be admitted.

        Raises:
            ValueError, TypeError: for a bad key or cost; nothing has been charged.
            StoreUnavailable: when the store cannot answer.
        """
        if cost is not _ONE or type(key) is not str or not key:
            key = _check(key, cost)
        retry, remaining, reset, _ = self._take(key, cost)
        if retry:
            return _new(
                Decision, (False, self._capacity, remaining, None if retry == NEVER else retry, reset)
            )
        return _new(Decision, (True, self._capacity, remaining, 0, reset))

    def peek(self, key: str, cost: int = 1) -> Decision:
        """Say what `acquire` would answer now, without charging; remaining is what is left now."""
        key = _check(key, cost)
        return _decision(self.limit, self.store.decide(_plan(self._rule, key, cost, peek=True)).found[0])

    def reset(self, key: str) -> None:
        """Forget what `key` has used."""
        _check(key, 1)
        self.store.reset([self._scope + key])

    def require(self, key: str, cost: int = 1) -> Decision:
        """Acquire, or raise.

        Raises:
            RateLimited: carrying the `Decision`, when the limit refuses.
        """
        decision = self.acquire(key, cost)
        if not decision.allowed:
            raise RateLimited(decision)
        return decision

    def wait(self, key: str, cost: int = 1, *, timeout: float | None = None) -> Decision:
        """Block this thread until `cost` is admitted; for pacing one's own calls.

        Args:
            timeout: longest wait in seconds; None waits as long as it takes. When the limit would admit
                only later than that, or never, the refusal is returned at once, without waiting.
        """
        deadline = _deadline(timeout)
        while True:
            decision = self.acquire(key, cost)
            pause = _pause(decision, deadline)
            if pause is None:
                return decision
            time.sleep(pause)


class AsyncLimiter:
    """`Limiter` for asyncio: the same, awaited. Takes asynchronous stores and those in memory.

    >>> import asyncio
    >>> from threshold import AsyncLimiter, MemoryStore, TokenBucket
    >>> pace = AsyncLimiter(TokenBucket("100/minute", burst=20), store=MemoryStore())
    >>> asyncio.run(pace.acquire("alice")).remaining
    19
    """

    def __init__(self, limit: Limit, store: Store | AsyncStore, *, name: str = "limiter") -> None:
        if getattr(store, "blocking", False):
            raise ConfigurationError(
                "store", store, "this store would block the event loop: use its async twin"
            )
        self.limit = limit
        self.store = store
        self._rule = _rule(limit, store, name)
        self._local = (
            None if getattr(store, "asynchronous", False) else Limiter(limit, cast(Store, store), name=name)
        )

    async def acquire(self, key: str, cost: int = 1) -> Decision:
        """Charge `cost` requests to `key` if the limit admits them, and say so."""
        if self._local is not None:
            return self._local.acquire(key, cost)
        return await self._decide(key, cost, peek=False)

    async def peek(self, key: str, cost: int = 1) -> Decision:
        """Say what `acquire` would answer now, without charging; remaining is what is left now."""
        if self._local is not None:
            return self._local.peek(key, cost)
        return await self._decide(key, cost, peek=True)

    async def reset(self, key: str) -> None:
        """Forget what `key` has used."""
        _check(key, 1)
        done = self.store.reset([self._rule.scope + key])
        if done is not None:
            await done

    async def require(self, key: str, cost: int = 1) -> Decision:
        """Acquire, or raise `RateLimited` with the decision."""
        decision = await self.acquire(key, cost)
        if not decision.allowed:
            raise RateLimited(decision)
        return decision

    async def wait(self, key: str, cost: int = 1, *, timeout: float | None = None) -> Decision:
        """Sleep until `cost` is admitted (see `Limiter.wait`); other tasks go on meanwhile."""
        deadline = _deadline(timeout)
        while True:
            decision = await self.acquire(key, cost)
            pause = _pause(decision, deadline)
            if pause is None:
                return decision
            from asyncio import sleep  # 20 ms, and nobody who gets here has not paid them already

            await sleep(pause)

    async def _decide(self, key: str, cost: int, *, peek: bool) -> Decision:
        key = _check(key, cost)
        plan = _plan(self._rule, key, cost, peek=peek)
        outcome = await cast(AsyncStore, self.store).decide(plan)
        return _decision(self.limit, outcome.found[0])


def _rule(limit: Limit, store: Store | AsyncStore, name: str) -> Rule:
    if not hasattr(limit, "step"):
        raise ConfigurationError(
            "limit", limit, 'give TokenBucket("100/minute") or SlidingWindow("5 per 5 minutes")'
        )
    if isinstance(limit, type):
        raise ConfigurationError("limit", limit, f"call it: {limit.__name__}(...)")
    if not hasattr(store, "decide"):
        raise ConfigurationError("store", store, "give a store such as MemoryStore()")
    if isinstance(store, type):
        raise ConfigurationError("store", store, f"call it: {store.__name__}()")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError("name", name, "give a non-empty str without NUL")
    store.check(limit)
    return Rule.of(name, "limiter", limit, prefix="lim:")  # no name of a policy's layer begins like that


def _plan(rule: Rule, key: str, cost: int, *, peek: bool) -> Plan:
    return Plan((rule,), (key,), cost, group=key, peek=peek)


def _decision(limit: Limit, found: Found) -> Decision:
    retry, remaining, reset, _ = found
    return Decision(retry == 0, limit.limit, remaining, None if retry == NEVER else retry, reset)


def _check(key: str, cost: int) -> str:
    """The key as a plain str: what a subclass of it calls equal is its own affair."""
    if not isinstance(key, str):
        raise TypeError(f"key: {key!r} is not a str; name the caller, e.g. str(user.id)")
    if not key:
        raise ValueError("key: '' names nobody; decide what a missing identity means before asking")
    if type(cost) is not int:
        raise TypeError(f"cost: {cost!r} is not an int; costs are whole requests")
    if cost < 0:
        raise ValueError(f"cost: {cost} is negative; give 0 or more")
    return str.__str__(key)


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
        raise TypeError(f"timeout: {timeout!r} is not a number; give seconds, 0 or more, or None")
    if not timeout >= 0:
        raise ValueError(f"timeout: {timeout!r} cannot work; give seconds, 0 or more, or None")
    return time.monotonic() + timeout


def _pause(decision: Decision, deadline: float | None) -> float | None:
    """Seconds to sleep before asking again; None when the decision stands."""
    if decision.allowed or decision.retry_after_us is None:
        return None
    pause = decision.retry_after_us / SECOND
    if deadline is not None and time.monotonic() + pause > deadline:
        return None
    return pause
