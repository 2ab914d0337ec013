"""A clock that skips what nobody works in: an hour's wait passes in no time, an answer takes what it takes.

For a limiter that can be handed its clock. Knows nothing of limiters or of what is waited for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush

from sentinel.observations import Observation

_IDLE_TURNS = 12  # turns of the loop without anything under way, until everybody is known to wait


class SkippingClock:
    """Tell the monotonic clock's time plus all that was skipped; use it from one running loop.

    While a request is under way the clock goes like any other, so what a limiter reads lies between sending
    and answer.

    >>> async def an_hour() -> bool:
    ...     clock = SkippingClock()
    ...     begun, due = time.monotonic(), clock.ns() + 3_600_000_000_000
    ...     await clock.wake(due)
    ...     return clock.ns() >= due and time.monotonic() - begun < 60
    >>> asyncio.run(an_hour())
    True
    """

    def __init__(self) -> None:
        self._skipped_ns = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = 0
        self._under_way = 0
        self._idle = 0
        self._watching = False
        self._timer: asyncio.TimerHandle | None = None

    def ns(self) -> int:
        """Tell the time in nanoseconds."""
        return time.monotonic_ns() + self._skipped_ns

    def us(self) -> int:
        """Tell the time in microseconds, as limiters read it; from any thread."""
        return self.ns() // 1_000

    async def wake(self, instant_ns: int) -> None:
        """Wait until an instant of this clock; give the loop one turn when it has passed."""
        if instant_ns <= self.ns():
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heappush(self._waiting, (instant_ns, self._number, future))
        self._watch()
        await future

    def timed(self, send: Callable[[str], Awaitable[Observation]]) -> Callable[[str], Awaitable[Observation]]:
        """Wrap a sender that times by the monotonic clock into one that times by this clock."""

        async def by_this_clock(key: str) -> Observation:
            self._under_way += 1
            skipped = self._skipped_ns  # stays what it is while this request is under way
            try:
                seen = await send(key)
            finally:
                self._under_way -= 1
                self._watch()
            return seen._replace(sent_ns=seen.sent_ns + skipped, done_ns=seen.done_ns + skipped)

        return by_this_clock

    def _watch(self) -> None:
        """Look again whether there is anything to do but to wait."""
        self._idle = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._watching:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Skip to the next instant that is waited for, once the loop has nothing else to do."""
        self._release()
        if not self._waiting:
            self._watching = False
            return
        loop = asyncio.get_running_loop()
        if self._under_way:
            self._watching = False
            self._timer = loop.call_later(max(0, self._waiting[0][0] - self.ns()) / 1e9, self._watch)
            return
        self._idle += 1
        if self._idle > _IDLE_TURNS:
            self._skipped_ns += max(0, self._waiting[0][0] - self.ns())
            self._release()
        loop.call_soon(self._turn)

    def _release(self) -> None:
        """Let go of whoever's instant has come."""
        now = self.ns()
        while self._waiting and self._waiting[0][0] <= now:
            self._idle = 0
            future = heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
