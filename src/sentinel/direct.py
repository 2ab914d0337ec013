"""A limiter called directly, on a store named like memory:, shared:NAME or redis://host:6379/0."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from sentinel.drivers.driver import Done, Request
from sentinel.drivers.limiter import Acquire, LimiterDriver
from sentinel.errors import ConfigurationError
from sentinel.promise import Promise, Window
from threshold import AsyncLimiter, Limiter, MemoryStore, Rate, SlidingWindow, TokenBucket

THREADS = 4
REDIS_BUDGET_S = 2.0  # an audit would rather wait than not know
_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix")
_HERE = (None, "localhost", "127.0.0.1", "::1")


class DirectDriver(LimiterDriver):
    """Drive a limiter of its own on a store; on closing, forget every key it used and let go of the store."""

    def __init__(
        self,
        limiter: Limiter | AsyncLimiter,
        acquire: Acquire,
        shut: Callable[[], Awaitable[None] | None],
        *,
        threads: int,
    ) -> None:
        super().__init__(acquire, threads=threads)
        self._limiter = limiter
        self._shut = shut
        self._used: set[str] = set()

    async def open(self) -> None:
        """Ask the store once, so that a dead one is known before the traffic."""
        await super().open()
        found = self._limiter.peek("sentinel")
        if inspect.isawaitable(found):
            await found

    def send(self, request: Request, done: Done) -> None:
        """Call the limiter."""
        self._used.add(request.key)
        super().send(request, done)

    async def close(self) -> None:
        """Forget the keys, then let go of the store."""
        await super().close()
        try:
            for key in self._used:
                forgotten = self._limiter.reset(key)
                if inspect.isawaitable(forgotten):
                    await forgotten
        finally:
            shut = self._shut()
            if shut is not None:
                await shut


def direct_limiter(store: str, rate: Rate, promise: Promise) -> tuple[DirectDriver, bool]:
    """Build threshold's limiter for a promise on a store; tell whether its clock is this machine's.

    Raises ConfigurationError for a store that is not understood or a promise that threshold does not make.

    >>> driver, local = direct_limiter("memory:", Rate.parse("5/second"), Window(5, 1_000_000, 10))
    >>> local
    True
    """
    limit = _limit(rate, promise)
    name = f"sentinel-{secrets.token_hex(6)}"
    scheme, _, rest = store.partition(":")
    if scheme == "memory" and not rest.strip("/"):
        memory = MemoryStore()
        inside = Limiter(limit, memory, name=name)
        return DirectDriver(inside, inside.acquire, memory.close, threads=THREADS), True
    if scheme == "shared":
        return _shared(rest, limit, name), True
    if scheme in _REDIS:
        return _redis(store, limit, name), urlsplit(store).hostname in _HERE
    raise ConfigurationError(f"limiter is {store!r}; write memory:, shared:NAME or redis://host:port/0")


def _limit(rate: Rate, promise: Promise) -> TokenBucket | SlidingWindow:
    if not isinstance(promise, Window):
        return TokenBucket(rate, burst=promise.burst)
    if promise.precision is None:
        raise ConfigurationError("precision is 0, an exact log; threshold's window has 2 to 360 sub-windows")
    return SlidingWindow(rate, precision=promise.precision)


def _shared(name: str, limit: TokenBucket | SlidingWindow, scope: str) -> DirectDriver:
    from threshold.stores.shared import SharedMemoryStore

    if not name:
        raise ConfigurationError("limiter is 'shared:'; name the shared memory, like shared:myapp")
    store = SharedMemoryStore(name)
    limiter = Limiter(limit, store, name=scope)
    return DirectDriver(limiter, limiter.acquire, store.close, threads=THREADS)


def _redis(url: str, limit: TokenBucket | SlidingWindow, scope: str) -> DirectDriver:
    from threshold.stores.redis import AsyncRedisStore

    store = AsyncRedisStore(url, budget=REDIS_BUDGET_S)
    limiter = AsyncLimiter(limit, store, name=scope)
    return DirectDriver(limiter, limiter.acquire, store.aclose, threads=0)
