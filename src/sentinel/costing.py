"""One overhead experiment from two drivers: how much the target bears, three loads below that, what it costs.

Half of the requests come from callers that are hardly known, and are let through; the other half from one
that has used up its limit, and are refused where the limiter is on. What that one is let through
nevertheless, perhaps held back under a shadow ban, is left out.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from sentinel.cost import Cost
from sentinel.drivers.driver import Driver, Request
from sentinel.errors import ConfigurationError, check_range
from sentinel.observations import Observation
from sentinel.overhead import FEWEST_BLOCKS, overheads
from sentinel.overhead_run import capacity, loads, measure
from sentinel.probe import Probe
from sentinel.quiet import quiet
from sentinel.runner import new_loop
from sentinel.waker import Waker

FRESH_KEYS = 5_000
HAMMER = "hammer"
HAMMER_AT_MOST = 5_000
REFUSED_ENOUGH = 20


@dataclass(frozen=True, slots=True)
class CostSettings:
    """Set how an overhead experiment is made.

    duration_s: of all loads together, at least 8 s each (at most 3,600). loads: 1 (a quarter of the capacity)
    or 3 (10, 25 and 45 % of it), at most `most` requests per second. rate: one load of this many instead.
    """

    duration_s: float = 30.0
    loads: int = 3
    rate: float | None = None
    most: float = 2_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loads not in (1, 3):
            raise ConfigurationError(f"loads is {self.loads}; it must be 1 or 3")
        check_range("duration", self.duration_s, FEWEST_BLOCKS * self.loads, 3_600, "s")
        if self.rate is not None:
            check_range("rate", self.rate, 50, 100_000, "requests/s")


def cost(
    on: Driver,
    off: Driver,
    request: Callable[[str], Request],
    settings: CostSettings,
    progress: Callable[[str], None] = lambda words: None,
) -> tuple[Cost, ...]:
    """Measure what the limiter behind `on` adds to the same requests behind `off`, and wait for it."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_cost(on, off, request, settings, progress))


async def _cost(
    on: Driver,
    off: Driver,
    request: Callable[[str], Request],
    settings: CostSettings,
    progress: Callable[[str], None],
) -> tuple[Cost, ...]:
    await on.open()
    try:
        await off.open()
        try:
            limited, bare = Probe(on, request), Probe(off, request)
            await _check(limited, bare)
            with quiet(), Waker() as wake:
                return await _at_each_load(limited, bare, settings, wake, progress)
        finally:
            await off.close()
    finally:
        await on.close()


async def _check(limited: Probe, bare: Probe) -> None:
    """Refuse to compare answers that are not the same kind of answer."""
    with_limiter, without = await limited("first"), await bare("first")
    if with_limiter.status != without.status or not 0 < without.status < 500:
        raise ConfigurationError(
            f"the target answers {with_limiter.status or 'nothing'} with its limiter and "
            f"{without.status or 'nothing'} without; choose a --path that answers the same, below 500"
        )


async def _at_each_load(
    limited: Probe, bare: Probe, settings: CostSettings, wake: Waker, progress: Callable[[str], None]
) -> tuple[Cost, ...]:
    rates = [settings.rate] if settings.rate is not None else await _rates(limited, settings, progress)

    async def with_limiter(key: str) -> Observation:
        seen = await limited(key)
        return seen._replace(admitted=None) if key == HAMMER and seen.admitted else seen

    costs = []
    keys = [f"fresh-{number}" for number in range(FRESH_KEYS)]
    for number, rate in enumerate(rates, 1):
        progress(f"load {number} of {len(rates)}: {rate:,.0f} requests/s")
        await _exhaust(limited)
        samples = await measure(
            with_limiter,
            bare,
            rate=rate,
            seconds=settings.duration_s / len(rates),
            seed=settings.seed + number,
            keys=[*keys, *[HAMMER] * FRESH_KEYS],
            wake=wake,
        )
        found = overheads(samples, seed=settings.seed)
        costs.append(Cost(rate, found, samples.failed, len(samples)))
    return tuple(costs)


async def _rates(limited: Probe, settings: CostSettings, progress: Callable[[str], None]) -> list[float]:
    """Choose loads well below what the target can do, so that no queue is measured."""
    progress("looking how much the target bears")
    numbers = itertools.count()

    async def fresh(_: str) -> Observation:
        return await limited(f"capacity-{next(numbers)}")

    three = loads(await capacity(fresh), most=settings.most)
    return [max(50.0, rate) for rate in (three if settings.loads == 3 else three[1:2])]


async def _exhaust(limited: Probe) -> None:
    """Use up the limit of one caller."""
    refused = 0
    for _ in range(HAMMER_AT_MOST // 16):
        seen = await asyncio.gather(*(limited(HAMMER) for _ in range(16)))
        refused = refused + 16 if all(one.admitted is False for one in seen) else 0
        if refused >= REFUSED_ENOUGH:
            return
