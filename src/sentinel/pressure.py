"""Keep one caller over its limit beside an experiment, so that its requests are refused at any load.

A limit gives back as time passes; whoever asks more slowly than that is never refused. So somebody else asks
in that caller's name just often enough, and nobody measures what that one is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sentinel.observations import Observation

MOST_AT_ONCE = 16
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.0005, 0.02
_PULSE_NS = 500_000_000  # half of every second pressure, half none: a second is what figures are drawn from


async def press(
    ask: Callable[[], Awaitable[Observation]],
    wake: Callable[[int], Awaitable[None]],
    *,
    most: float,
    pulse: bool = False,
) -> None:
    """Use up what a limit gives back until cancelled, at no more than `most` requests per second.

    Asks twice as fast after it was let through, slower by half after a refusal, and several at once where
    that is not fast enough: what it asks is refused somewhat more often than not. With `pulse` it rests half
    of every second, for a target that knows one caller only: what is allowed is to be measured as well.
    """
    pause, crowd = LONGEST_PAUSE_S, 1
    while True:
        refused = sum(one.admitted is False for one in await asyncio.gather(*(ask() for _ in range(crowd))))
        if refused == 0 and pause > SHORTEST_PAUSE_S:
            pause = max(SHORTEST_PAUSE_S, pause / 2)
        elif refused == 0:
            crowd = min(MOST_AT_ONCE, 2 * crowd)
        elif refused == crowd and crowd > 1:
            crowd //= 2
        elif refused == crowd:
            pause = min(LONGEST_PAUSE_S, 1.5 * pause)
        pause = max(pause, crowd / most)
        due = time.monotonic_ns() + round(pause * 1e9)
        turn, into = divmod(due, _PULSE_NS)
        if pulse and turn % 2:
            due += _PULSE_NS - into
        await wake(due)
