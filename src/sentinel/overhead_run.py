"""Send an overhead experiment: a Poisson stream whose every request goes to one of two senders by the toss
of a coin.

A sender is a coroutine function: it is handed a key and returns an Observation. What it costs is worked out
elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from sentinel.errors import check_range
from sentinel.observations import Observation
from sentinel.overhead import FEWEST_BLOCKS, Samples

Send = Callable[[str], Awaitable[Observation | None]]
_IN_FLIGHT = 512
_WORTH_MORE = 1.5  # a target that does so much more for four times the users was waiting, not working


# ------------------------------------------------------------------------------------------------------


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


async def measure(
    on: Send,
    off: Send,
    *,
    rate: float,
    seconds: float,
    seed: int = 0,
    keys: Sequence[str] = ("overhead",),
    warm_up_s: float = 1.0,
    wake: Callable[[int], Awaitable[None]] = _sleep_until,
    clock: Callable[[], int] = time.monotonic_ns,
    stop: asyncio.Event | None = None,
) -> Samples:
    """Send a Poisson stream, each request to the arm a coin decides, and record how long each took.

    `rate` is requests per second (1 to 100,000; keep it below half of what the target can do), `seconds`
    the length (8 to 3,600) after `warm_up_s` seconds that are sent and not counted. `wake` sleeps until an
    instant of `clock`, which the observations are timed by too. Requests without an answer are left out and
    counted as failed; those whose sender returns None are left out. Once `stop` is set nothing more is sent.
    """
    check_range("rate", rate, 1, 100_000, "requests/s")
    check_range("seconds", seconds, FEWEST_BLOCKS, 3_600, "s")
    rng = random.Random(seed)
    begun = clock() + 10_000_000
    counted_from = begun + round(warm_up_s * 1e9)
    until = counted_from + round(seconds * 1e9)
    rows: list[tuple[bool, Observation]] = []
    under_way: set[asyncio.Task[None]] = set()

    async def one(limited: bool, key: str) -> None:
        seen = await (on if limited else off)(key)
        if seen is not None:
            rows.append((limited, seen))

    at = begun + round(rng.expovariate(rate) * 1e9)
    while at < until and not (stop is not None and stop.is_set()):
        if at > clock():
            await wake(at)
        if len(under_way) >= _IN_FLIGHT:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(one(rng.random() < 0.5, rng.choice(keys)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        at += round(rng.expovariate(rate) * 1e9)
    if under_way:
        await asyncio.gather(*under_way)
    return _samples([row for row in rows if row[1].sent_ns >= counted_from])


def _samples(rows: Sequence[tuple[bool, Observation]]) -> Samples:
    answered = [(limited, seen) for limited, seen in rows if seen.admitted is not None]
    return Samples(
        np.array([seen.sent_ns for _, seen in answered], np.int64),
        np.array([limited for limited, _ in answered], np.bool_),
        np.array([seen.admitted is False for _, seen in answered], np.bool_),
        np.array([seen.done_ns - seen.sent_ns for _, seen in answered], np.int64),
        failed=len(rows) - len(answered),
    )


async def capacity(send: Send, *, seconds: float = 1.0, users: int = 16) -> float:
    """Estimate what a target can do, in requests per second, by keeping `users` requests under way.

    A target that waits more than it works does more for more users: then four and sixteen times as many
    have a try. Each takes half of `seconds`.
    """
    best = 0.0
    for crowd in (users, 4 * users, 16 * users):
        found = await _throughput(send, seconds / 2, crowd)
        if found < _WORTH_MORE * best:
            return max(best, found)
        best = found
    return best


async def _throughput(send: Send, seconds: float, users: int) -> float:
    """Count what is answered per second while `users` requests are kept under way."""
    begun = time.monotonic_ns()
    until = begun + round(seconds * 1e9)
    done = 0

    async def user(number: int) -> None:
        nonlocal done
        while time.monotonic_ns() < until:
            await send(f"capacity-{number}")
            done += 1
            await asyncio.sleep(0)

    await asyncio.gather(*(user(number) for number in range(users)))
    return done / ((time.monotonic_ns() - begun) / 1e9)


def loads(capacity_per_s: float, *, most: float = 2_000.0) -> tuple[float, float, float]:
    """Choose three loads below half of the capacity: 10, 25 and 45 % of it, at most `most` requests per
    second.

    >>> loads(2_000.0)
    (200.0, 500.0, 900.0)
    """
    return tuple(min(max(1.0, capacity_per_s * share), most * share / 0.45) for share in (0.1, 0.25, 0.45))  # type: ignore[return-value]
