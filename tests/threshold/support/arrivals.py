"""Attackers: each decides when to ask next, knowing the limit's public parameters and every answer it gets.

A trace is driven against a pure step function; what it admitted comes back as (instant, cost) pairs. Knows
nothing of how the limits work, except that sub-windows start at multiples of their width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Step = Callable[[Any, int, int], tuple[int, int, int, Any]]
Attacker = Iterator[tuple[int, int]]


def drive(step: Step, attacker: Callable[[Callable[[], int]], Attacker]) -> list[tuple[int, int]]:
    """Let the attacker ask; return what was admitted. It may call its argument for the last retry-after.

    Time only moves forward: an instant that has passed already becomes the present one.
    """
    last = 0
    present = 0

    def retry() -> int:
        return last

    state = None
    admitted = []
    for instant, cost in attacker(retry):
        present = max(present, instant)
        last, _, _, state = step(state, present, cost)
        if last == 0:
            admitted.append((present, cost))
    return admitted


def greedy(period: int, asks: int, start: int = 0) -> Callable[[Callable[[], int]], Attacker]:
    """Ask without a pause, and when refused ask again exactly at retry-after."""

    def attack(retry: Callable[[], int]) -> Attacker:
        now = start
        for _ in range(asks):
            yield now, 1
            now += retry()

    return attack


def astride(edge: int, period: int, limit: int, rounds: int) -> Callable[[Callable[[], int]], Attacker]:
    """Bursts on the last microsecond before and the first after each multiple of `edge`."""

    def attack(retry: Callable[[], int]) -> Attacker:
        at = edge
        for _ in range(rounds):
            for instant in (at - 1, at, at + 1):
                for _ in range(limit + 1):
                    yield instant, 1
            at += edge

    return attack


def phased(width: int, period: int, limit: int, rounds: int) -> Callable[[Callable[[], int]], Attacker]:
    """Know the sub-windows: fill up at the end of one, come back when a log of starts would forget."""

    def attack(retry: Callable[[], int]) -> Attacker:
        now = width - 1
        for turn in range(rounds):
            for _ in range(limit + 1):
                yield now, 1
            for early in (period - width, period - width + 1, period - 1, period, period + width - 1):
                for _ in range(limit + 1):
                    yield now + early, 1
            now += period + (turn % 3) * width + width - 1 - (now + period) % width

    return attack


def dribble(width: int, period: int, limit: int, rounds: int) -> Callable[[Callable[[], int]], Attacker]:
    """One request in each sub-window, then a burst when the first are about to expire."""

    def attack(retry: Callable[[], int]) -> Attacker:
        now = 0
        for _ in range(rounds):
            for i in range(limit // 2 + 1):
                yield now + i * width + (i % 2) * (width - 1), 1
            now += period
            for offset in (-1, 0, 1, width - 1, width, width + 1):
                for _ in range(limit):
                    yield now + offset, 1
            now += period // 3

    return attack


def noise(seed: int, period: int, limit: int, asks: int) -> Callable[[Callable[[], int]], Attacker]:
    """Random bursts, costs and pauses, half of the pauses being retry-after to the microsecond."""

    def attack(retry: Callable[[], int]) -> Attacker:
        rng = Random(seed)
        now = rng.randrange(period)
        for _ in range(asks):
            yield now, rng.choice((1, 1, 1, 2, max(1, limit // 2), limit))
            wait = retry()
            if wait > 0 and rng.random() < 0.5:
                now += wait
            elif rng.random() < 0.6:
                now += rng.choice((0, 1, period // 97 + 1, period // 10, period // 2, period - 1))

    return attack


def exact_log(limit: int, period: int) -> Step:
    """The ideal: remember every admission, admit when fewer than `limit` are younger than `period`."""

    def step(state: Any, now: int, cost: int) -> tuple[int, int, int, Any]:
        log = [at for at in state or () if now - at < period]
        if len(log) + cost <= limit:
            return 0, 0, 0, log + [now] * cost
        return log[len(log) + cost - limit - 1] + period - now, 0, 0, log

    return step
