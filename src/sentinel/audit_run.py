"""Send an audit's traffic to anything that answers.

The target is a coroutine function: it is handed a key and returns an Observation. Nothing here judges.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sentinel.audit import Row
from sentinel.audit_plan import CROWD, Act, AuditPlan, capacity_of
from sentinel.observations import Observation
from sentinel.promise import settled_ns

Send = Callable[[str], Awaitable[Observation]]
_IN_FLIGHT = 2_000
_ROUNDED_NS = 1_000_000_000  # a wait is announced in whole seconds
_PATIENCE_S = 2.0  # for answers that are under way when an audit is stopped


# ---------------------------------------------------------------------------------------------------------


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


async def run_audit(
    plan: AuditPlan,
    send: Send,
    *,
    key_prefix: str = "",
    clock: Callable[[], int] = time.monotonic_ns,
    wake: Callable[[int], Awaitable[None]] = _sleep_until,
    progress: Callable[[int, int], None] | None = None,
    stop: asyncio.Event | None = None,
    begins_ns: int | None = None,
) -> tuple[Row, ...]:
    """Send a plan's traffic and return every observation with its act and key.

    Keys are `key_prefix` + the plan's: give a fresh prefix per audit, so that no key has been seen before.
    `wake` sleeps until an instant of `clock` (nanoseconds), which the observations are timed by too;
    `progress` is told (done, planned). Once `stop` is set nothing more is sent; what is under way is waited
    for shortly, then it counts as unknown. The plan's zero is at `begins_ns` of the clock, or at once.
    """
    begun = clock() + 50_000_000 if begins_ns is None else begins_ns
    sending = _Sending(plan, send, key_prefix, clock, wake, progress, begun)
    traffic = asyncio.ensure_future(sending.all_of_it())
    if stop is not None:
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({traffic, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not traffic.done():
            traffic.cancel()
            await asyncio.wait({traffic})
            await sending.let_go()
            return tuple(sending.rows)
    await traffic
    return tuple(sending.rows)


class _Sending:
    """One audit's requests, sent when they are due."""

    def __init__(
        self,
        plan: AuditPlan,
        send: Send,
        key_prefix: str,
        clock: Callable[[], int],
        wake: Callable[[int], Awaitable[None]],
        progress: Callable[[int, int], None] | None,
        begun: int,
    ) -> None:
        self.rows: list[Row] = []
        self._plan = plan
        self._send = send
        self._prefix = key_prefix
        self._clock = clock
        self._wake = wake
        self._progress = progress
        self._begun = begun
        self._planned = plan.requests
        self._under_way: set[asyncio.Task[Observation]] = set()
        self._error: BaseException | None = None

    async def all_of_it(self) -> None:
        """Send everything and wait for every answer."""
        obedient = [
            asyncio.ensure_future(self._obey(act, key)) for act in self._plan.acts for key in act.obey
        ]
        try:
            await self._play()
            while self._under_way:
                await asyncio.wait(self._under_way)
            await asyncio.gather(*obedient)
            if self._error is not None:
                raise self._error
        finally:
            for task in obedient:
                task.cancel()

    async def let_go(self) -> None:
        """Wait shortly for what is under way; what has no answer then may have been admitted or not."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_PATIENCE_S)
        left = list(self._under_way)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _play(self) -> None:
        timeline = sorted((at, act.name, key) for act in self._plan.acts for at, key in act.sends)
        last = -1
        for at, act, key in timeline:
            if self._begun + at > self._clock():
                await self._wake(self._begun + at)
            elif at != last:  # late: let the others run; those of one instant start together all the same
                await asyncio.sleep(0)
            last = at
            if len(self._under_way) >= _IN_FLIGHT:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._fire(act, key)

    def _fire(self, act: str, key: str) -> asyncio.Task[Observation]:
        """Send one request as a task of its own, which outlives whoever waits for it."""
        task = asyncio.ensure_future(self._one(act, key))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Observation]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()

    async def _one(self, act: str, key: str) -> Observation:
        sent_ns = self._clock()
        try:
            seen = await self._send(self._prefix + key)
        except asyncio.CancelledError:
            self.rows.append((act, key, Observation(sent_ns, self._clock(), None)))
            raise
        self.rows.append((act, key, seen))
        if self._progress is not None:
            self._progress(len(self.rows), self._planned)
        return seen

    async def _obey(self, act: Act, key: str) -> None:
        """Exhaust the key at once, look for a refusal with nothing beside it, wait as told, try once more."""
        await self._wake(self._begun + round(act.starts_s * 1e9))
        promise = self._plan.promise
        count = capacity_of(promise) + CROWD
        crowd = await asyncio.shield(asyncio.gather(*(self._fire(act.name, key) for _ in range(count))))
        alone = await asyncio.shield(self._fire(act.name, key))
        if alone.admitted is False:  # its announcement binds: nothing else of the key was under way
            wait_ns = round((alone.retry_after_s or 0.0) * 1e9)
        else:  # more flowed in than could be used up; then only the longest honest wait binds
            told = [seen.retry_after_s or 0.0 for seen in crowd if seen.admitted is False]
            wait_ns = max(round(max(told, default=0.0) * 1e9), settled_ns(promise))
        retry_ns = self._clock() + wait_ns + 2_000_000
        planned = wait_ns <= settled_ns(promise) + _ROUNDED_NS
        if not planned and retry_ns > self._begun + self._plan.budget_s * 1e9:
            return  # a penalty, or a wait that is merely long: it may be an hour or a day
        await self._wake(retry_ns)
        await asyncio.shield(self._fire(act.name, key))
