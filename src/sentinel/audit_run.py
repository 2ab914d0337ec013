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
) -> tuple[Row, ...]:
    """Send a plan's traffic and return every observation with its act and key.

    Keys are `key_prefix` + the plan's: give a fresh prefix per audit, so that no key has been seen before.
    `wake` sleeps until an instant of `clock` (nanoseconds), which the observations are timed by too;
    `progress` is told (done, planned).
    """
    rows: list[Row] = []
    begun = clock() + 50_000_000
    planned = plan.requests
    under_way: set[asyncio.Task[None]] = set()

    async def one(act: str, key: str) -> Observation:
        seen = await send(key_prefix + key)
        rows.append((act, key, seen))
        if progress is not None:
            progress(len(rows), planned)
        return seen

    async def fire(act: str, key: str) -> None:
        await one(act, key)

    async def obey(act: Act, key: str) -> None:
        """Exhaust the key at once, look for a refusal with nothing beside it, wait as told, try once more."""
        await wake(begun + round(act.starts_s * 1e9))
        capacity = capacity_of(plan.promise)
        crowd = await asyncio.gather(*(one(act.name, key) for _ in range(capacity + CROWD)))
        alone = await one(act.name, key)
        if alone.admitted is False:  # its announcement binds: nothing else of the key was under way
            wait_ns = round((alone.retry_after_s or 0.0) * 1e9)
        else:  # more flowed in than could be used up; then only the longest honest wait binds
            told = [seen.retry_after_s or 0.0 for seen in crowd if seen.admitted is False]
            wait_ns = max(round(max(told, default=0.0) * 1e9), settled_ns(plan.promise))
        await wake(clock() + wait_ns + 2_000_000)
        await one(act.name, key)

    obedient = [asyncio.ensure_future(obey(act, key)) for act in plan.acts for key in act.obey]
    timeline = sorted((at, act.name, key) for act in plan.acts for at, key in act.sends)
    last = -1
    for at, act, key in timeline:
        if begun + at > clock():
            await wake(begun + at)
        elif at != last:  # late: let the others run; those of one instant start together all the same
            await asyncio.sleep(0)
        last = at
        if len(under_way) >= _IN_FLIGHT:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(fire(act, key))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await asyncio.gather(*under_way, *obedient)
    return tuple(rows)
