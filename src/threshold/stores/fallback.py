"""FallbackStore and AsyncFallbackStore: a remote store, and a local one for while the remote is away.

Knows two stores and one error; knows nothing of servers. While the remote store is away, every process
counts for itself, so a fleet of N admits up to N times a limit until the remote one answers again; nothing
is carried over in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from ..errors import ConfigurationError, StoreUnavailable
from ..plan import Limit, Outcome, Plan, State
from .base import AsyncStore, Store

OnSwitch = Callable[[bool, str], None]
"""Called with (whether the local store decides now, why)."""


class _Switch:
    """Which of the two decided last; tells the hook when that changes."""

    def __init__(self, remote: Store | AsyncStore, local: Store, on_switch: OnSwitch | None) -> None:
        for name, store in (("remote", remote), ("local", local)):
            if not hasattr(store, "decide"):
                raise ConfigurationError(name, store, "give a store")
        if getattr(local, "asynchronous", False) or getattr(local, "blocking", False):
            raise ConfigurationError("local", local, "give a store of this process, e.g. MemoryStore()")
        self.is_local = False
        """The local store decided last."""
        self._local = local
        self._on_switch = on_switch
        self._local_from = self._local_to = -1

    def check(self, limit: Limit) -> None:
        """Raise `ConfigurationError` when either store cannot hold the limit exactly."""
        self._remote_check(limit)
        self._local.check(limit)

    def _remote_check(self, limit: Limit) -> None:
        raise NotImplementedError

    def _went(self, local: bool, why: str) -> None:
        if self.is_local is not local:
            self.is_local = local
            if self._on_switch is not None:
                self._on_switch(local, why)

    def _local_decide(self, plan: Plan, error: StoreUnavailable) -> Outcome:
        self._went(True, str(error))
        outcome = self._local.decide(plan)
        self._local_to = outcome.at
        if self._local_from < 0:
            self._local_from = outcome.at
        return outcome

    def _was_local(self, at: int) -> bool:
        """Whether a charge at this instant was made locally: the stores' clocks begin at different times."""
        return self._local_from <= at <= self._local_to


class FallbackStore(_Switch):
    """Ask the remote store; while it is unavailable, decide in the local one.

    Args:
        remote: a blocking store, e.g. `RedisStore(url)`.
        local: a store of this process, e.g. `MemoryStore()`.
        on_switch: called with (True, why) when the local store takes over and (False, "") when it ends.

    Raises:
        ConfigurationError: when either is no store of its kind.

    >>> from threshold import Limiter, MemoryStore, TokenBucket
    >>> from threshold.stores.redis import RedisStore
    >>> nobody_there = RedisStore("redis://127.0.0.1:9/0")
    >>> pace = Limiter(TokenBucket("2/minute"), FallbackStore(nobody_there, MemoryStore()))
    >>> [pace.acquire("ann").allowed for _ in range(3)]
    [True, True, False]
    """

    asynchronous: ClassVar[bool] = False

    def __init__(self, remote: Store, local: Store, *, on_switch: OnSwitch | None = None) -> None:
        super().__init__(remote, local, on_switch)
        if getattr(remote, "asynchronous", False):
            raise ConfigurationError("remote", remote, "this store is awaited: use AsyncFallbackStore")
        self._remote = remote
        self.blocking: bool = getattr(remote, "blocking", False)

    def _remote_check(self, limit: Limit) -> None:
        self._remote.check(limit)

    def decide(self, plan: Plan) -> Outcome:
        """Decide remotely, or locally while that is impossible."""
        try:
            outcome = self._remote.decide(plan)
        except StoreUnavailable as error:
            return self._local_decide(plan, error)
        if self.is_local:
            self._went(False, "")
        return outcome

    def refund(self, plan: Plan, at: int) -> None:
        """Give back where the charge was made; see `Store.refund`."""
        (self._local if self._was_local(at) else self._remote).refund(plan, at)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget these keys in both stores.

        Raises:
            StoreUnavailable: when the remote one could not be told; the local one has forgotten.
        """
        self._local.reset(keys, group)
        self._remote.reset(keys, group)

    def state(self, keys: Sequence[str]) -> list[State]:
        """Read the states where decisions are made now."""
        return (self._local if self.is_local else self._remote).state(keys)

    def close(self) -> None:
        """Close both stores."""
        self._local.close()
        self._remote.close()


class AsyncFallbackStore(_Switch):
    """`FallbackStore` for asyncio.

    >>> import asyncio
    >>> from threshold import AsyncLimiter, MemoryStore, TokenBucket
    >>> from threshold.stores.redis import AsyncRedisStore
    >>> async def main():
    ...     nobody_there = AsyncRedisStore("redis://127.0.0.1:9/0")
    ...     store = AsyncFallbackStore(nobody_there, MemoryStore())
    ...     pace = AsyncLimiter(TokenBucket("1/minute"), store)
    ...     answers = [(await pace.acquire("ann")).allowed for _ in range(2)]
    ...     await store.aclose()
    ...     return answers
    >>> asyncio.run(main())
    [True, False]
    """

    def __init__(self, remote: AsyncStore, local: Store, *, on_switch: OnSwitch | None = None) -> None:
        super().__init__(remote, local, on_switch)
        if not getattr(remote, "asynchronous", False):
            raise ConfigurationError("remote", remote, "this store is not awaited: use FallbackStore")
        self.asynchronous: bool = True
        self._remote = remote

    def _remote_check(self, limit: Limit) -> None:
        self._remote.check(limit)

    async def decide(self, plan: Plan) -> Outcome:
        """Decide remotely, or locally while that is impossible."""
        try:
            outcome = await self._remote.decide(plan)
        except StoreUnavailable as error:
            return self._local_decide(plan, error)
        if self.is_local:
            self._went(False, "")
        return outcome

    async def refund(self, plan: Plan, at: int) -> None:
        """Give back where the charge was made; see `Store.refund`."""
        if self._was_local(at):
            self._local.refund(plan, at)
        else:
            await self._remote.refund(plan, at)

    async def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        """Forget these keys in both stores."""
        self._local.reset(keys, group)
        await self._remote.reset(keys, group)

    async def state(self, keys: Sequence[str]) -> list[State]:
        """Read the states where decisions are made now."""
        return self._local.state(keys) if self.is_local else await self._remote.state(keys)

    async def aclose(self) -> None:
        """Close both stores."""
        self._local.close()
        await self._remote.aclose()
