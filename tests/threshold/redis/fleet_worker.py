"""One process of a fleet, run as a script: asks for one key from many tasks, prints what it was told.

Arguments: URL, prefix, seconds, tasks, seconds its clocks are wrong by, seconds refusals are remembered.
"""

import asyncio
import json
import sys
import time

url, prefix, seconds, tasks, skew, remember = sys.argv[1:7]
real_time, real_monotonic = time.time, time.monotonic
time.time = lambda: real_time() + float(skew)
time.monotonic = lambda: real_monotonic() + float(skew)

from threshold import SlidingWindow, TokenBucket  # noqa: E402
from threshold.plan import Plan, Rule  # noqa: E402
from threshold.stores.redis import AsyncRedisStore  # noqa: E402

RULES = (
    Rule.of("window", "user", SlidingWindow("200/second")),
    Rule.of("bucket", "user", TokenBucket("150/second", burst=40)),
)


async def main() -> None:
    told = [[], []]
    store = AsyncRedisStore(url, prefix=prefix, budget=5, remember=float(remember))
    end = real_monotonic() + float(seconds)

    async def ask(task: int) -> None:
        which = task % 2
        rule = RULES[which]
        plan = Plan.of((rule,), (rule.scope + "all",), 1, group="all")
        while real_monotonic() < end:
            outcome = await store.decide(plan)
            told[which].append((outcome.at, outcome.allowed))
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(task) for task in range(int(tasks))))
    await store.aclose()
    json.dump(told, sys.stdout)


asyncio.run(main())
