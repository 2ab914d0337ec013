"""Waiting for instants from coroutines, many at a time, on one punctual timer."""

from __future__ import annotations

import asyncio
import time
from heapq import heappop, heappush

from sentinel.timer import Timer, make_timer


class Waker:
    """Wait until instants of the monotonic clock (nanoseconds); a context manager inside a running loop.

    >>> async def short() -> bool:
    ...     with Waker() as wake:
    ...         due = time.monotonic_ns() + 1_000_000
    ...         await wake(due)
    ...         return time.monotonic_ns() >= due
    >>> asyncio.run(short())
    True
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: Timer | None = None

    def __enter__(self) -> Waker:
        self._loop = asyncio.get_running_loop()
        self._timer = make_timer(self._loop, self._due)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        for _at, _number, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    async def __call__(self, instant_ns: int) -> None:
        """Wait until an instant; give the loop one turn when it has passed."""
        if instant_ns <= time.monotonic_ns() or self._loop is None or self._timer is None:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._number += 1
        heappush(self._waiting, (instant_ns, self._number, future))
        if self._waiting[0][2] is future:
            self._timer.wake_at(instant_ns)
        await future

    def _due(self) -> None:
        now = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now:
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
        if self._waiting and self._timer is not None:
            self._timer.wake_at(self._waiting[0][0])
