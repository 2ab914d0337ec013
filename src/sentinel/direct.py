"""A limiter called directly, on a store named like memory:, shared:NAME or redis://host:6379/0."""

from __future__ import annotations

import contextlib
import inspect
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from sentinel.drivers.driver import Done, Request
from sentinel.drivers.limiter import LimiterDriver
from sentinel.errors import ConfigurationError
from sentinel.promise import Promise, Window
from threshold import AsyncLimiter, Limiter, MemoryStore, Rate, SlidingWindow, ThresholdError, TokenBucket

if TYPE_CHECKING:
    from threshold.stores.shared import SharedMemoryStore

THREADS = 4
REDIS_BUDGET_S = 2.0  # an audit would rather wait than not know
_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")  # of shared memory, as threshold wants it
_HERE = (None, "localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Opened:
    """Hold a limiter on an open store, and how to let go of the store."""

    limiter: Limiter | AsyncLimiter
    shut: Callable[[], Awaitable[None] | None]


class DirectDriver(LimiterDriver):
    """Drive a limiter of its own on a store, opened when the driver is.

    On closing it forgets every key it used and lets go of the store.
    """

    def __init__(self, opening: Callable[[], Opened], *, threads: int) -> None:
        super().__init__(_closed, threads=threads)
        self._opening = opening
        self._opened: Opened | None = None
        self._used: set[str] = set()

    async def open(self) -> None:
        """Open the store and ask it once, so that a dead one is known before the traffic."""
        await super().open()
        self._opened = opened = self._opening()
        self._acquire = opened.limiter.acquire
        try:
            found = opened.limiter.peek("sentinel")
            if inspect.isawaitable(found):
                await found
        except BaseException:
            await self.close()
            raise

    def send(self, request: Request, done: Done) -> None:
        """Call the limiter."""
        self._used.add(request.key)
        super().send(request, done)

    async def close(self) -> None:
        """Forget the keys, then let go of the store."""
        await super().close()
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            for key in self._used:
                forgotten = opened.limiter.reset(key)
                if inspect.isawaitable(forgotten):
                    await forgotten
        finally:
            shut = opened.shut()
            if shut is not None:
                await shut


def _closed(_: str) -> NoReturn:
    raise RuntimeError("the store is not open")


@dataclass(frozen=True, slots=True)
class DirectLimiter:
    """Make drivers of threshold's limiter for a promise on a store: memory:, shared:NAME or redis://...

    Raises ConfigurationError for a store that is not understood or a promise that threshold does not make.

    >>> DirectLimiter("memory:", Rate.parse("5/second"), Window(5, 1_000_000, 10)).local
    True
    """

    store: str
    rate: Rate
    promise: Promise

    def __post_init__(self) -> None:
        self._limit()
        scheme, _, rest = self.store.partition(":")
        if scheme == "shared" and not rest:
            raise ConfigurationError("limiter is 'shared:'; name the shared memory, like shared:myapp")
        if scheme == "shared" and not _NAME.fullmatch(rest):
            raise ConfigurationError(
                f"limiter is {self.store!r}; shared memory has a name of 1 to 64 letters, digits, '_' or "
                "'-', like shared:myapp"
            )
        if scheme not in ("shared", *_REDIS) and (scheme != "memory" or rest.strip("/")):
            raise ConfigurationError(
                f"limiter is {self.store!r}; write memory:, shared:NAME or redis://host:port/0"
            )

    @property
    def local(self) -> bool:
        """Tell whether the store's clock is this machine's."""
        return self.store.partition(":")[0] not in _REDIS or urlsplit(self.store).hostname in _HERE

    def driver(self, clock: Callable[[], int] | None = None) -> DirectDriver:
        """Make a driver, by the store's own clock or by one in microseconds.

        Shared memory by another clock is memory of its own: in the named one other limiters' states would
        age with it.
        """
        scheme, _, rest = self.store.partition(":")
        if scheme == "memory":
            return DirectDriver(partial(self._memory, clock), threads=THREADS)
        if scheme == "shared":
            return DirectDriver(partial(self._shared, rest, clock), threads=THREADS)
        return DirectDriver(partial(self._redis, clock), threads=0)

    def _limit(self) -> TokenBucket | SlidingWindow:
        if not isinstance(self.promise, Window):
            return TokenBucket(self.rate, burst=self.promise.burst)
        if self.promise.precision is None:
            raise ConfigurationError(
                "precision is 0, an exact log; threshold's window has 2 to 360 sub-windows"
            )
        return SlidingWindow(self.rate, precision=self.promise.precision)

    def _memory(self, clock: Callable[[], int] | None) -> Opened:
        store = MemoryStore() if clock is None else MemoryStore(clock=clock)
        return Opened(Limiter(self._limit(), store, name=_scope()), store.close)

    def _shared(self, name: str, clock: Callable[[], int] | None) -> Opened:
        from threshold.stores.shared import SharedMemoryStore

        there = clock is None and _is_there(SharedMemoryStore, name)
        if clock is None:
            store = SharedMemoryStore(name)
        else:
            name = _scope()
            store = SharedMemoryStore(name, clock=clock)

        def shut() -> None:
            store.close()
            if not there:
                with contextlib.suppress(ThresholdError):  # others have begun to use it: it is theirs now
                    SharedMemoryStore.remove(name)

        return Opened(Limiter(self._limit(), store, name=_scope()), shut)

    def _redis(self, clock: Callable[[], int] | None) -> Opened:
        from threshold.stores.redis import AsyncRedisStore

        store = AsyncRedisStore(self.store, budget=REDIS_BUDGET_S, clock=clock)
        return Opened(AsyncLimiter(self._limit(), store, name=_scope()), store.aclose)


def _scope() -> str:
    return f"sentinel-{secrets.token_hex(6)}"


def _is_there(kind: type[SharedMemoryStore], name: str) -> bool:
    """Tell whether memory of that name exists; its folder is where memory of another name is put."""
    other = _scope()
    beside = kind(other, max_keys=1)
    try:
        return Path(beside.path).with_name(name).exists()
    finally:
        beside.close()
        kind.remove(other)
