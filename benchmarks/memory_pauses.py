"""The longest single decision of a MemoryStore, while it fills and while it forgets, by number of keys. JSON.

A store that sweeps, resizes one big table or evicts in batches shows it here: its longest call grows with the
number of keys. Python's garbage collector is off unless asked for, and the time is the thread's own, so that
only the store's pauses are seen and not those of a busy machine; each size is measured several times, and the
median of the longest calls is told.

    python benchmarks/memory_pauses.py [--sizes 10000 1000000] [--rounds 3] [--limit window] [--collect]
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from statistics import median

from threshold import MemoryStore, SlidingWindow, TokenBucket
from threshold.plan import Limit, Rule
from threshold.stores.base import bind
from threshold.testing import ManualClock

SAMPLE = 50_000
"""Calls timed in each phase, whatever the size: the longest of more calls would be longer by chance alone."""


LIMITS: dict[str, Limit] = {"bucket": TokenBucket("60/minute"), "window": SlidingWindow("60/minute")}


def phases(size: int, limit: Limit) -> dict[str, list[int]]:
    """Nanoseconds of single calls: into a nearly full store, into a full one, and after all came to rest."""
    clock = ManualClock(10**15)
    rule = Rule.of("user", "user", limit)
    store = MemoryStore(size, clock=clock)
    take = bind(store, rule)
    keys = iter(range(100 * size + 10 * SAMPLE))
    sample = min(SAMPLE, size // 2)

    def timed(count: int, pause_us: int = 0) -> list[int]:
        spent = []
        for _ in range(count):
            key = f"{rule.scope}user{next(keys)}"
            clock.now_us += pause_us
            begin = time.thread_time_ns()
            take(key, 1)
            spent.append(time.thread_time_ns() - begin)
        return spent

    for _ in range(size - sample):
        take(f"{rule.scope}user{next(keys)}", 1)
    filling = timed(sample)
    if len(store) != size:
        raise AssertionError(f"{len(store)} keys instead of {size}")
    full = timed(sample)
    clock.advance(61)
    return {"filling": filling, "full": full, "all at rest": timed(sample, pause_us=3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", choices=LIMITS, default="bucket")
    parser.add_argument("--collect", action="store_true", help="leave Python's garbage collector on")
    asked = parser.parse_args()
    rows: dict[int, dict[str, dict[str, list[int]]]] = {size: {} for size in asked.sizes}
    for _ in range(asked.rounds):
        for size in asked.sizes:
            gc.collect()
            if not asked.collect:
                gc.disable()
            for phase, spent in phases(size, LIMITS[asked.limit]).items():
                spent.sort()
                row = rows[size].setdefault(phase, {"median": [], "p99.99": [], "longest": []})
                row["median"].append(spent[len(spent) // 2])
                row["p99.99"].append(spent[int(len(spent) * 0.9999)])
                row["longest"].append(spent[-1])
            gc.enable()
    told = {
        size: {
            phase: {name: round(median(values) / 1000, 1) for name, values in row.items()}
            for phase, row in of_size.items()
        }
        for size, of_size in rows.items()
    }
    how = {"limit": asked.limit, "collector": asked.collect, "python": platform.python_version()}
    print(json.dumps({"unit": "us", **how, "by_keys": told}, indent=2))


if __name__ == "__main__":
    main()
