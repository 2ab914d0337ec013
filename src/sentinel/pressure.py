"""Keep one caller over its limit beside an experiment, so that its requests are refused at any load.

A limit gives back as time passes; whoever asks more slowly than that is never refused. So somebody else asks
in that caller's name just often enough, and nobody measures what that one is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import ceil

from sentinel.observations import Observation

SLOWEST = 50.0  # requests per second
SHORTEST_PAUSE_S = 0.0005  # what is faster goes several at once
MOST_UNDER_WAY = 512
REFUSAL = 0.5  # what a refusal costs a target, of what a request that it serves costs it, at most
_LOOK = 4  # requests that tell whether to ask faster or slower
_PULSE_NS = 500_000_000  # half of every second pressure, half none: a second is what figures are drawn from


async def press(
    ask: Callable[[], Awaitable[Observation]],
    wake: Callable[[int], Awaitable[None]],
    *,
    most: float,
    pulse: bool = False,
) -> None:
    """Use up what a limit gives back until cancelled, at no more than `most` requests per second let through.

    Asks at an even pace, whatever time the answers take: twice as fast where less than half is refused,
    slower by half where all is, so that what it asks is refused somewhat more often than not. With `pulse` it
    rests half of every second, for a target that knows one caller only: what is allowed is to be measured as
    well.
    """
    pace = _Pace(most)
    under_way = 0

    async def one(counts: bool) -> None:
        nonlocal under_way
        under_way += 1
        refused = (await ask()).admitted is False
        under_way -= 1
        if counts:
            pace.told(refused)

    due = time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        while True:
            count = ceil(pace.rate * SHORTEST_PAUSE_S)
            for _ in range(min(count, MOST_UNDER_WAY - under_way)):
                group.create_task(one(pace.asked()))
            due = max(due, time.monotonic_ns() - _PULSE_NS // 50) + round(count / pace.rate * 1e9)
            turn, into = divmod(due, _PULSE_NS)
            if pulse and turn % 2:
                due += _PULSE_NS - into
            await wake(due)


class _Pace:
    """How often to ask, by what became of the first few requests that were sent at this very pace.

    Whichever are answered first would not do: a refusal is answered sooner than a request that is served.
    """

    def __init__(self, most: float) -> None:
        self.rate = min(SLOWEST, most)
        self._most = most
        self._looked_at = 0
        self._refused: list[bool] = []

    def asked(self) -> bool:
        """Tell whether the answer to the request that is now sent is to be told."""
        self._looked_at += 1
        return self._looked_at <= _LOOK

    def told(self, refused: bool) -> None:
        """Take in an answer; the last one of a few changes the pace."""
        self._refused.append(refused)
        if len(self._refused) < _LOOK:
            return
        share = sum(self._refused) / _LOOK
        wanted = 2 * self.rate if share < 0.5 else self.rate / 1.5 if share == 1 else self.rate
        bearable = self._most / (1 - share + REFUSAL * share)
        self.rate = min(bearable, max(wanted, min(SLOWEST, self._most)))
        self._looked_at = 0
        self._refused.clear()
