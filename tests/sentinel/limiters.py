"""Limiters by hand, right and wrong, in virtual time, and what a client would observe of them.

They are small, slow and independent of the product's: exact fractions, plain lists.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from fractions import Fraction

from sentinel.observations import Observation, Observations

# key, instant in whole microseconds, → admitted, announced wait in seconds (None: nothing announced)
Decide = Callable[[str, int], tuple[bool, float | None]]


def bucket(limit: int, period_us: int, burst: int, lie: Fraction = Fraction(0)) -> Decide:
    """Meter tokens in exact fractions; `lie` is taken off every announced wait, in seconds."""
    tokens: dict[str, Fraction] = defaultdict(lambda: Fraction(burst))
    last: dict[str, int] = {}
    rate = Fraction(limit, period_us)

    def decide(key: str, now_us: int) -> tuple[bool, float | None]:
        have = min(Fraction(burst), tokens[key] + rate * (now_us - last.get(key, now_us)))
        last[key] = now_us
        tokens[key] = have - 1 if have >= 1 else have
        if have >= 1:
            return True, None
        wait_us = -(-(1 - have) // rate)
        return False, float(Fraction(wait_us, 1_000_000) - lie)

    return decide


def ring(limit: int, period_us: int, precision: int) -> Decide:
    """Count whole sub-windows for as long as any part of them is inside the window."""
    counts: dict[str, deque[tuple[int, int]]] = defaultdict(deque)

    def decide(key: str, now_us: int) -> tuple[bool, float | None]:
        slot, slots = now_us * precision // period_us, counts[key]
        while slots and slots[0][0] + precision < slot:
            slots.popleft()
        if sum(count for _, count in slots) >= limit:
            free_us = -(-(slots[0][0] + precision + 1) * period_us // precision)
            return False, (free_us - now_us) / 1e6
        if slots and slots[-1][0] == slot:
            slots.append((slot, slots.pop()[1] + 1))
        else:
            slots.append((slot, 1))
        return True, None

    return decide


def log(limit: int, period_us: int) -> Decide:
    """Remember every admission exactly."""
    kept: dict[str, deque[int]] = defaultdict(deque)

    def decide(key: str, now_us: int) -> tuple[bool, float | None]:
        admissions = kept[key]
        while admissions and admissions[0] <= now_us - period_us:
            admissions.popleft()
        if len(admissions) >= limit:
            return False, (admissions[0] + period_us - now_us) / 1e6
        admissions.append(now_us)
        return True, None

    return decide


def fixed_window(limit: int, period_us: int) -> Decide:
    """Pose as a sliding window, and forget everything at every boundary."""
    counts: dict[tuple[str, int], int] = defaultdict(int)

    def decide(key: str, now_us: int) -> tuple[bool, float | None]:
        window = now_us // period_us
        if counts[key, window] >= limit:
            return False, ((window + 1) * period_us - now_us) / 1e6
        counts[key, window] += 1
        return True, None

    return decide


def per_process(make: Callable[[], Decide], workers: int, rng: random.Random) -> Decide:
    """Give every worker a store of its own."""
    stores = [make() for _ in range(workers)]
    return lambda key, now_us: rng.choice(stores)(key, now_us)


def racy_window(limit: int, period_us: int, gap_us: int) -> Decide:
    """Check against what was known `gap_us` ago, then set: the gap between a read and its write."""
    kept: dict[str, list[int]] = defaultdict(list)

    def decide(key: str, now_us: int) -> tuple[bool, float | None]:
        known = sum(1 for at in kept[key] if now_us - period_us < at <= now_us - gap_us)
        if known >= limit:
            return False, None
        kept[key].append(now_us)
        return True, None

    return decide


def observe(
    decide: Decide, sends: Iterable[tuple[int, str]], latency: Callable[[], int], rng: random.Random
) -> Observations:
    """Drive a limiter: each request is decided anywhere between its sending and its answer (nanoseconds)."""
    flights = []
    for number, (sent, key) in enumerate(sends):
        took = latency()
        # Instants are drawn on both edges as well as between them: the edges are where proofs go wrong.
        at = sent + rng.choice((0, took, rng.randint(0, took), rng.randint(0, took)))
        flights.append((at, number, sent, sent + took, key))
    rows: dict[int, tuple[str, Observation]] = {}
    for at, number, sent, done, key in sorted(flights):
        admitted, wait = decide(key, at // 1_000)
        rows[number] = key, Observation(sent, done, admitted, wait, 200 if admitted else 429)
    ordered = [rows[number] for number in sorted(rows)]
    return Observations.of([key for key, _ in ordered], [row for _, row in ordered])


def arrivals(rng: random.Random, rate: float, seconds: float, start_s: float = 0.0) -> list[int]:
    """Draw Poisson arrivals (nanoseconds)."""
    now, out = start_s, []
    while (now := now + rng.expovariate(rate)) < start_s + seconds:
        out.append(round(now * 1e9))
    return out
