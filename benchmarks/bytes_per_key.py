"""Bytes that one remembered key costs, at a million keys, for each algorithm. Prints JSON.

Each measurement has a process of its own: resident memory before and after, and what tracemalloc saw in a
second run. Keys look like those of an app: scope, NUL, "user123456".

    python benchmarks/bytes_per_key.py [--keys 1000000]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tracemalloc
from pathlib import Path

from threshold import MemoryStore, SlidingWindow, TokenBucket
from threshold.plan import Limit, Rule
from threshold.stores.base import bind
from threshold.testing import ManualClock

LIMITS: dict[str, Limit] = {
    "token-bucket": TokenBucket("100/minute"),
    "sliding-window": SlidingWindow("100/minute"),
    "sliding-window, three sub-windows used": SlidingWindow("100/minute"),
}
PAUSES_US = {"sliding-window, three sub-windows used": (0, 1_000_000, 2_000_000)}


def resident() -> int:
    """Resident bytes of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmRSS in /proc/self/status: this script needs Linux")


def measure(name: str, keys: int, traced: bool) -> float:
    """Bytes per key of a store that was filled in this process."""
    clock = ManualClock(10**15)
    rule = Rule.of("user", "user", LIMITS[name])
    store = MemoryStore(2 * keys, clock=clock)
    take = bind(store, rule)
    if traced:
        tracemalloc.start()
    before = resident()
    for pause in PAUSES_US.get(name, (0,)):
        clock.advance_us(pause)
        for i in range(keys):
            take(f"user{100_000 + i}", 1)
    if len(store) != keys:
        raise AssertionError(f"{len(store)} keys instead of {keys}: nothing to divide by")
    taken = tracemalloc.get_traced_memory()[0] if traced else resident() - before
    return taken / keys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--one", choices=[*LIMITS], help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.keys, asked.traced)))
        return
    rows = {}
    for name in LIMITS:
        command = [sys.executable, __file__, "--keys", str(asked.keys), "--one", name]
        rows[name] = {
            "resident": round(float(subprocess.check_output(command)), 1),
            "traced": round(float(subprocess.check_output([*command, "--traced"])), 1),
        }
    print(
        json.dumps({"keys": asked.keys, "python": platform.python_version(), "bytes_per_key": rows}, indent=2)
    )


if __name__ == "__main__":
    main()
