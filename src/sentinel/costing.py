"""One overhead experiment from two drivers: how much the target bears, three loads below that, what it costs.

Half of the requests come from callers that are hardly known, and are let through; the other half from one
that has used up its limit, and are refused where the limiter is on. What that one is let through
nevertheless, perhaps held back under a shadow ban, is left out. Beside the measured requests, others in its
name use up what the limit gives back, so that it stays over its limit at any load. Those go to both arms,
too: a server that idles less is a faster one.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sentinel.cost import Cost, Pressed
from sentinel.drivers.driver import Driver, Request
from sentinel.errors import ConfigurationError, TooFewSeconds, check_range
from sentinel.observations import Observation
from sentinel.overhead import FEWEST_BLOCKS, Samples, overheads
from sentinel.overhead_run import capacity, in_turn, loads, measure, on_goes_first
from sentinel.pressure import press
from sentinel.probe import Probe
from sentinel.quiet import quiet
from sentinel.runner import new_loop
from sentinel.stopping import stoppable
from sentinel.waker import Waker

FRESH_KEYS = 5_000
HAMMER = "hammer"
HAMMER_AT_MOST = 5_000
REFUSED_ENOUGH = 20
FEWEST_REQUESTS = 800  # a load: half with the limiter, half of those refused, and some to spare
PRESSED_AT_MOST = 2_000.0  # let through per second and arm to the one who is to be over its limit


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


class Costs(NamedTuple):
    """Hold what was measured, load by load, and whether somebody stopped it before its end."""

    entries: tuple[Cost, ...]
    stopped: bool


def cost(
    on: Driver,
    off: Driver,
    request: Callable[[str], Request],
    settings: CostSettings,
    progress: Callable[[str], None] = lambda words: None,
) -> Costs:
    """Measure what the limiter behind `on` adds to the same requests behind `off`, and wait for it.

    The first Ctrl-C (or SIGTERM, or the end of the terminal) ends it with the loads that were measured, the
    second one at once.
    """
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_cost(on, off, request, settings, progress))


async def _cost(
    on: Driver,
    off: Driver,
    request: Callable[[str], Request],
    settings: CostSettings,
    progress: Callable[[str], None],
) -> Costs:
    stop = asyncio.Event()
    with stoppable(stop.set):
        await on.open()
        try:
            await off.open()
            try:
                status = await _status(Probe(on, request), Probe(off, request))
                limited, bare = (Probe(driver, request, admitted={status}) for driver in (on, off))
                with quiet(), Waker() as wake:
                    return await _Experiment(limited, bare, settings, wake, progress, stop).at_each_load()
            finally:
                await off.close()
        finally:
            await on.close()


async def _status(limited: Probe, bare: Probe) -> int:
    """Give the status of an answer, which must be the same in both arms: else they are not comparable."""
    with_limiter, without = await limited("first"), await bare("first")
    if with_limiter.status != without.status or not 0 < without.status < 500:
        raise ConfigurationError(
            f"the target answers {with_limiter.status or 'nothing'} with its limiter and "
            f"{without.status or 'nothing'} without; choose a --path that answers the same, below 500"
        )
    return without.status


def cost_at(rate: float, samples: Samples, pressed: Pressed, seed: int) -> Cost:
    """Work out what was measured at one load, or why that tells nothing."""
    try:
        found, short = overheads(samples, seed=seed), ""
    except TooFewSeconds as error:
        found, short = (), str(error)
    return Cost(rate, found, samples.failed, len(samples), pressed, short)


class _Experiment:
    """One experiment on two senders that are open."""

    def __init__(
        self,
        limited: Probe,
        bare: Probe,
        settings: CostSettings,
        wake: Waker,
        progress: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        self._limited = limited
        self._bare = bare
        self._settings = settings
        self._wake = wake
        self._progress = progress
        self._stop = stop
        self._most_pressure = PRESSED_AT_MOST

    async def at_each_load(self) -> Costs:
        settings = self._settings
        rates = await self._rates()
        costs: list[Cost] = []
        for number, rate in enumerate(rates, 1):
            if self._stop.is_set():
                break
            self._progress(f"load {number} of {len(rates)}: {rate:,.0f} requests/s")
            samples, pressed = await self._at(rate, settings.duration_s / len(rates), settings.seed + number)
            if not self._stop.is_set():
                costs.append(cost_at(rate, samples, pressed, settings.seed))
        return Costs(tuple(costs), self._stop.is_set())

    async def _at(self, rate: float, seconds: float, seed: int) -> tuple[Samples, Pressed]:
        """Measure at one load, with the one caller kept over its limit; tell what that took, too."""
        await self._exhaust()
        others = [await self._limited(f"apart-{number}") for number in range(3)]
        told: list[bool] = []

        async def ask() -> Observation:
            on_first = on_goes_first(seed, time.monotonic_ns())
            seen, _ = await in_turn(self._limited, self._bare, HAMMER, on_first=on_first, wake=self._wake)
            told.append(seen.admitted is False)
            return seen

        pressure = press(
            ask,
            self._wake,
            most=self._most_pressure,
            pulse=all(one.admitted is False for one in others),
        )
        pressing = asyncio.ensure_future(pressure)
        keys = [f"fresh-{number}" for number in range(FRESH_KEYS)]
        begun_ns = time.monotonic_ns()
        try:
            samples = await measure(
                self._refused_or_fresh,
                self._bare,
                rate=rate,
                seconds=seconds,
                seed=seed,
                keys=[*keys, *[HAMMER] * FRESH_KEYS],
                wake=self._wake,
                stop=self._stop,
            )
        finally:
            pressing.cancel()
            await asyncio.wait({pressing})
        return samples, Pressed(len(told), sum(told), (time.monotonic_ns() - begun_ns) / 1e9)

    async def _refused_or_fresh(self, key: str) -> Observation | None:
        seen = await self._limited(key)
        return None if key == HAMMER and seen.admitted else seen

    async def _rates(self) -> list[float]:
        """Choose loads well below what the target can do, so that no queue is measured."""
        settings = self._settings
        if settings.rate is None:
            self._progress("looking how much the target bears")
        numbers = itertools.count()

        async def fresh(_: str) -> Observation:
            return await self._limited(f"capacity-{next(numbers)}")

        bears = await capacity(fresh)
        self._most_pressure = min(PRESSED_AT_MOST, max(50.0, bears / 8))  # of either arm
        if settings.rate is not None:
            return [settings.rate]
        three = loads(bears, most=settings.most)
        fewest = min(0.45 * bears, FEWEST_REQUESTS * settings.loads / settings.duration_s)
        return [max(50.0, fewest, rate) for rate in (three if settings.loads == 3 else three[1:2])]

    async def _exhaust(self) -> None:
        """Use up the limit of one caller."""
        refused = 0
        for _ in range(HAMMER_AT_MOST // 16):
            seen = await asyncio.gather(*(self._limited(HAMMER) for _ in range(16)))
            most = (
                sum(one.admitted is False for one in seen) > 8
            )  # an answer takes time, which gives some back
            refused = refused + 16 if most else 0
            if refused >= REFUSED_ENOUGH:
                return
