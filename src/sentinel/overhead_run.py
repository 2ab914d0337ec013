"""Send an overhead experiment: a Poisson stream of pairs, the same request to two senders one shortly after
the other, in an order that a coin decides for every tenth of a second.

A request to a server that has idled for some milliseconds takes up to twice as long as one that follows
another, and a limiter refuses those that follow another. So both arms get the same requests at the same
times, and a pair is kept or left out as a whole: nothing but the limiter tells the arms apart, also among
refused requests alone. Were the order to change with every pair, the distances between requests would differ
from arm to arm, and refusals would pick the shorter ones of one arm only.

A sender is a coroutine function: it is handed a key and returns an Observation. What it costs is worked out
elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from sentinel.errors import check_range
from sentinel.observations import Observation
from sentinel.overhead import FEWEST_BLOCKS, Samples

Send = Callable[[str], Awaitable[Observation | None]]
T = TypeVar("T")
Pair = tuple[Observation | None, Observation | None]  # with the limiter, without
_IN_FLIGHT = 512
STRETCH_NS = 100_000_000
APART_NS = 500_000  # from the answer to one of a pair to the other request: the first server is done by then
_WORTH_MORE = 1.5  # a target that does so much more for four times the users was waiting, not working


# ------------------------------------------------------------------------------------------------------


async def _sleep_until(instant_ns: int) -> None:
    await asyncio.sleep(max(0, instant_ns - time.monotonic_ns()) / 1e9)


@lru_cache(maxsize=64)
def _coin(seed: int, stretch: int) -> bool:
    return random.Random(f"{seed}/{stretch}").random() < 0.5


def on_goes_first(seed: int, instant_ns: int) -> bool:
    """Tell which arm a pair goes to first: one coin for every tenth of a second, the same for all who ask."""
    return _coin(seed, instant_ns // STRETCH_NS)


async def in_turn(
    on: Callable[[str], Awaitable[T]],
    off: Callable[[str], Awaitable[T]],
    key: str,
    *,
    on_first: bool,
    wake: Callable[[int], Awaitable[None]] = _sleep_until,
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[T, T]:
    """Send one request to both senders, to the second half a millisecond after the first has answered.

    Both at once would queue behind each other where two servers share a core, and one would pay for the
    other.
    """
    first, second = (on, off) if on_first else (off, on)
    sooner = await first(key)
    await wake(clock() + APART_NS)
    later = await second(key)
    return (sooner, later) if on_first else (later, sooner)


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
    """Send a Poisson stream of pairs, in the order a coin decides, and record how long each took.

    `rate` is requests per second (1 to 100,000, both arms together; keep it below half of what the target can
    do), `seconds` the length (8 to 3,600) after `warm_up_s` seconds that are sent and not counted. `wake`
    sleeps until an instant of `clock`, which the observations are timed by too. Requests without an answer
    are counted as failed and left out with their twin, and so are those whose sender returns None, which are
    not. Once `stop` is set no further pair is begun.
    """
    check_range("rate", rate, 1, 100_000, "requests/s")
    check_range("seconds", seconds, FEWEST_BLOCKS, 3_600, "s")
    rng = random.Random(seed)
    begun = clock() + 10_000_000
    counted_from = begun + round(warm_up_s * 1e9)
    until = counted_from + round(seconds * 1e9)
    pairs: list[Pair] = []
    under_way: set[asyncio.Task[None]] = set()

    async def both(on_first: bool, key: str) -> None:
        pairs.append(await in_turn(on, off, key, on_first=on_first, wake=wake, clock=clock))

    at = begun + round(rng.expovariate(rate / 2) * 1e9)
    while at < until and not (stop is not None and stop.is_set()):
        if at > clock():
            await wake(at)
        if len(under_way) >= _IN_FLIGHT:
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(both(on_goes_first(seed, at), rng.choice(keys)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        at += round(rng.expovariate(rate / 2) * 1e9)
    if under_way:
        await asyncio.gather(*under_way)
    return _samples(pairs, counted_from)


def _samples(pairs: Sequence[Pair], counted_from: int) -> Samples:
    """Put pairs into columns, both of a pair under the limiter's answer."""
    whole = [
        (with_limiter, without)
        for with_limiter, without in pairs
        if with_limiter is not None
        and without is not None
        and min(with_limiter.sent_ns, without.sent_ns) >= counted_from
    ]
    answered = [pair for pair in whole if all(one.admitted is not None for one in pair)]
    seen = [one for pair in answered for one in pair]
    return Samples(
        np.array([one.sent_ns for one in seen], np.int64),
        np.tile(np.array([True, False]), len(answered)),
        np.repeat(np.array([one.admitted is False for one, _ in answered], np.bool_), 2),
        np.array([one.done_ns - one.sent_ns for one in seen], np.int64),
        failed=sum(one.admitted is None for pair in whole for one in pair),
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
