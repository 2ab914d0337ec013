"""The benchmarks of one limit: a hot key, many keys, and refusals. Checks that each did what it says."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from contenders import MOST_KEYS, YEAR, Build, Contender, builders
from sampling import Series, WorkloadError

AMPLE = 10_000_000
"""A limit per year that no benchmark exhausts, and that gives back less than one request in three seconds."""
MANY = 100_000

_clock = time.perf_counter_ns


def hot_key(size: int) -> list[Series]:
    """Admitted requests of one caller."""
    return [
        _series(contender, ["203.0.113.9"], size)
        for build in builders().values()
        if (contender := _sound(build)).one_key
    ]


def many_keys(size: int) -> list[Series]:
    """Admitted requests of 100,000 callers in random order, all of them seen before."""
    keys = [f"user-{i}" for i in range(MANY)]
    random.Random(3).shuffle(keys)
    return [replace(_series(_sound(build), keys, size), first=MANY) for build in builders().values()]


def new_keys(size: int) -> list[Series]:
    """First requests: every caller is one that has not been seen before."""
    keys = [f"user-{i}" for i in range(MOST_KEYS)]
    return [_series(_sound(build), keys, size) for build in builders().values()]


def refusals(size: int) -> list[Series]:
    """Refused requests of one caller."""
    return [_refused(build(1), size) for build in builders().values() if build(1).one_key]


def _sound(build: Build) -> Contender:
    """Build a contender after seeing that it admits exactly its limit."""
    trial = build(50)
    admitted = sum(trial.admitted(trial.call("trial")) for _ in range(80))
    if admitted != 50:
        raise WorkloadError(f"{trial.name}: admitted {admitted} of 80 requests under a limit of 50")
    return build(AMPLE)


def _series(contender: Contender, keys: list[str], size: int) -> Series:
    call = contender.call
    start = time.monotonic()
    round_and_round = Cycle(keys)
    looks: dict[int, int] = {}

    def check(done: int) -> None:
        for place in {0, (done - 1) % len(keys)}:
            charged = AMPLE - contender.remaining(keys[place])
            looks[place] = looks.get(place, 0) + contender.looks_cost
            due = done // len(keys) + (done % len(keys) > place) + looks[place]
            given_back = (time.monotonic() - start) * AMPLE / YEAR + 1
            if not due - given_back <= charged <= due:
                raise WorkloadError(f"{contender.name}: {charged} requests charged, {due} made")

    return Series(
        contender.name,
        contender.role,
        batch=lambda count: _batch(call, round_and_round.take(count)),
        singles=lambda count: _singles(call, round_and_round.take(count)),
        check=check,
        size=size,
    )


def _refused(contender: Contender, size: int) -> Series:
    call = contender.call
    key = "203.0.113.9"
    if not contender.admitted(call(key)):
        raise WorkloadError(f"{contender.name}: refused the first request")

    def check(done: int) -> None:
        if contender.admitted(call(key)):
            raise WorkloadError(f"{contender.name}: admitted request {done + 1} under a limit of 1")

    return Series(
        contender.name,
        contender.role,
        batch=lambda count: _batch(call, [key] * count),
        singles=lambda count: _singles(call, [key] * count),
        check=check,
        size=size,
    )


class Cycle:
    """The keys of one series, handed out in order, over and over."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        self._at = 0

    def take(self, count: int) -> list[str]:
        """The next `count` keys."""
        keys = self._keys
        taken: list[str] = []
        while len(taken) < count:
            part = keys[self._at : self._at + count - len(taken)]
            taken += part
            self._at = (self._at + len(part)) % len(keys)
        return taken


def _batch(call: Callable[[str], object], keys: list[str]) -> int:
    start = _clock()
    for key in keys:
        call(key)
    return _clock() - start


def _singles(call: Callable[[str], object], keys: list[str]) -> list[int]:
    clock = _clock
    taken = []
    for key in keys:
        start = clock()
        call(key)
        taken.append(clock() - start)
    return taken
