"""Accuracy: what algorithms of one name admit on the same adversarial traces, against an exact log.

Run it with `python benchmarks/accuracy.py`: arithmetic on seeded traces, so that the figures repeat exactly.

Every contender limits 100 requests per second. A trace is a mixture of steady traffic, idle gaps and bursts,
many of them around the boundaries of windows and sub-windows. `worst` is the most admissions in any one
second; `share` is what was admitted of what an exact log admits.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import deque
from collections.abc import Callable

from threshold import Limiter, MemoryStore, SlidingWindow
from threshold.testing import ManualClock, worst_window

LIMIT = 100
WINDOW = 1_000_000
TRACES = 200

Admit = Callable[[int], bool]


def trace(seed: int) -> list[int]:
    """Instants, in microseconds, of one adversary's requests over ten seconds."""
    chance = random.Random(seed)
    instants: list[int] = []
    now = 0
    while now < 10 * WINDOW:
        kind = chance.randrange(4)
        if kind == 0:  # steady, a little above the limit
            gap = chance.randrange(4_000, 11_000)
            instants += range(now, now + chance.randrange(WINDOW), gap)
        elif kind == 1:  # two bursts astride a window's boundary
            edge = (now // WINDOW + 1) * WINDOW
            instants += [edge - chance.randrange(1, 5_000)] * LIMIT + [edge + chance.randrange(5_000)] * LIMIT
        elif kind == 2:  # bursts at the ends of sub-windows
            tenth = WINDOW // 10
            edge = (now // tenth + 1) * tenth
            for i in range(chance.randrange(2, 15)):
                instants += [edge + i * tenth - 1] * chance.randrange(10, 60)
        now = max([now, *instants]) + chance.randrange(WINDOW)
    return sorted(instants)


def exact_log() -> Admit:
    log: deque[int] = deque()

    def admit(now: int) -> bool:
        while log and log[0] <= now - WINDOW:
            log.popleft()
        if len(log) >= LIMIT:
            return False
        log.append(now)
        return True

    return admit


def fixed_window() -> Admit:
    seen = [-1, 0]

    def admit(now: int) -> bool:
        if now // WINDOW != seen[0]:
            seen[:] = [now // WINDOW, 0]
        seen[1] += 1
        return seen[1] <= LIMIT

    return admit


def two_counters() -> Admit:
    """The usual approximation: this window's count and the last one's, weighted by its overlap."""
    counts: dict[int, int] = {}

    def admit(now: int) -> bool:
        window, elapsed = divmod(now, WINDOW)
        before = counts.get(window - 1, 0) * (WINDOW - elapsed) / WINDOW
        if before + counts.get(window, 0) + 1 > LIMIT:
            return False
        counts[window] = counts.get(window, 0) + 1
        return True

    return admit


def interpolated_ring(parts: int) -> Callable[[], Admit]:
    """The same idea with finer counters: the oldest one is weighted by its overlap."""
    width = WINDOW // parts

    def make() -> Admit:
        counts: dict[int, int] = {}

        def admit(now: int) -> bool:
            slot, elapsed = divmod(now, width)
            whole = sum(counts.get(slot - i, 0) for i in range(parts))
            oldest = counts.get(slot - parts, 0) * (width - elapsed) / width
            if whole + oldest + 1 > LIMIT:
                return False
            counts[slot] = counts.get(slot, 0) + 1
            return True

        return admit

    return make


def this_ring(precision: int) -> Callable[[], Admit]:
    def make() -> Admit:
        clock = ManualClock()
        limit = SlidingWindow(f"{LIMIT}/second", precision=precision)
        limiter = Limiter(limit, store=MemoryStore(clock=clock))

        def admit(now: int) -> bool:
            clock.now_us = now
            return limiter.acquire("k").allowed

        return admit

    return make


CONTENDERS: dict[str, Callable[[], Admit]] = {
    "exact log": exact_log,
    "fixed window": fixed_window,
    "two counters": two_counters,
    "interpolated ring, k=10": interpolated_ring(10),
    "interpolated ring, k=50": interpolated_ring(50),
    "threshold, k=10": this_ring(10),
    "threshold, k=50": this_ring(50),
}


def measure() -> dict[str, dict[str, float]]:
    """Worst window and admitted share of every contender over all traces."""
    traces = [trace(seed) for seed in range(TRACES)]
    worst = dict.fromkeys(CONTENDERS, 0)
    admitted = dict.fromkeys(CONTENDERS, 0)
    for instants in traces:
        for name, make in CONTENDERS.items():
            admit = make()
            passed = [now for now in instants if admit(now)]
            admitted[name] += len(passed)
            worst[name] = max(worst[name], worst_window(passed, WINDOW))
    total = admitted["exact log"]
    return {name: {"worst": worst[name], "share": round(admitted[name] / total, 4)} for name in CONTENDERS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{TRACES} traces, {LIMIT} per second")
    print(f"{'':28}{'worst window':>14}{'share of exact':>16}")
    for name, row in figures.items():
        print(f"{name:28}{row['worst']:>14.0f}{row['share']:>16.3f}")


if __name__ == "__main__":
    main()
