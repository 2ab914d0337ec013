"""Direct calls of a limiter: no HTTP at all, for auditing a store and for measuring a decision alone.

Anything that can be called with a key and answers with something that has `allowed` and `retry_after` will
do.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

from sentinel.drivers.driver import Done, Request, Response
from sentinel.errors import check_range

ADMITTED, REFUSED = 200, 429


class DecisionLike(Protocol):
    """Tell whether a request was admitted, and how long a refused one should wait."""

    @property
    def allowed(self) -> bool:
        """Tell whether it was admitted."""

    @property
    def retry_after(self) -> float | None:
        """Give the seconds to wait; None when waiting will never help."""


Acquire: TypeAlias = Callable[[str], "DecisionLike | Awaitable[DecisionLike]"]


class LimiterDriver:
    """Call `acquire(key)` for every request; admitted reads as status 200, refused as 429.

    threads: 0 calls on the loop, which suits what is in memory or asynchronous; 1 to 64 runs calls that block
    (a store over the network) in that many threads.
    """

    def __init__(self, acquire: Acquire, *, threads: int = 0) -> None:
        check_range("threads", threads, 0, 64)
        self.counters = {"calls": 0, "call_errors": 0}
        self._acquire = acquire
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start the threads, if any."""
        self._loop = asyncio.get_running_loop()
        if self._threads:
            self._pool = ThreadPoolExecutor(self._threads, "sentinel-limiter")

    def send(self, request: Request, done: Done) -> None:
        """Call the limiter; a plain answer is reported before this returns."""
        self.counters["calls"] += 1
        if self._pool is not None and self._loop is not None:
            loop = self._loop
            self._pool.submit(lambda: loop.call_soon_threadsafe(done, self._blocking(request.key)))
            return
        try:
            decision = self._acquire(request.key)
        except Exception as error:
            done(self._failed(error))
            return
        if inspect.isawaitable(decision):
            task = asyncio.ensure_future(self._wait(decision, done))
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._over(task, done))
        else:
            done(_answer(decision))

    def _blocking(self, key: str) -> Response:
        try:
            decision = self._acquire(key)
            if inspect.isawaitable(decision):
                raise TypeError("an asynchronous limiter is called on the loop; use threads=0")
            return _answer(decision)
        except Exception as error:
            return self._failed(error)

    async def _wait(self, decision: Awaitable[DecisionLike], done: Done) -> None:
        try:
            answer = _answer(await decision)
        except Exception as error:
            answer = self._failed(error)
        done(answer)

    def _over(self, task: asyncio.Task[None], done: Done) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # perhaps before it even started
            done(Response(0, [], b"", time.monotonic_ns(), "the run ended before the answer"))

    def _failed(self, error: Exception) -> Response:
        self.counters["call_errors"] += 1
        return Response(
            0, [], b"", time.monotonic_ns(), f"the limiter raised {type(error).__name__}: {error}"
        )

    async def close(self) -> None:
        """Wait for the threads and cancel what is under way."""
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)  # calls are short, and every one of them answers
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _answer(decision: DecisionLike) -> Response:
    now = time.monotonic_ns()
    if decision.allowed:
        return Response(ADMITTED, [], b"", now)
    return Response(REFUSED, [], b"", now, retry_after_s=decision.retry_after)
