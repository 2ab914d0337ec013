"""The benchmark of several threads on one limiter: decisions per second together, and the p99 of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import floors
from contenders import YEAR
from sampling import WorkloadError
from threshold import Limiter, MemoryStore, Rate, TokenBucket

LIMIT = 1_000_000_000
_EVERY = 16
"""Every how manieth operation is timed by itself."""


def measure(seconds: float) -> list[dict[str, Any]]:
    """Run 1, 2 and 4 threads for so long each, on one hot key of ours and of the floors."""
    figures = []
    for threads in (1, 2, 4):
        limiter = Limiter(TokenBucket(Rate(LIMIT, per=10 * YEAR)), store=MemoryStore())
        candidates: list[tuple[str, Callable[[str], object]]] = [
            ("threshold", limiter.acquire),
            ("floor with lock", floors.bucket_with_lock(LIMIT, YEAR)),
            ("floor without lock", floors.bucket_without_lock(LIMIT, YEAR)),
        ]
        for name, acquire in candidates:
            figures.append(_run(name, acquire, threads, seconds))
        charged = LIMIT - limiter.peek("hot").remaining
        if not figures[-3]["decisions"] - 10 * seconds - 10 <= charged <= figures[-3]["decisions"]:
            raise WorkloadError(f"{threads} threads: {charged} charged, {figures[-3]['decisions']} admitted")
    return figures


def _run(name: str, acquire: Callable[[str], object], threads: int, seconds: float) -> dict[str, Any]:
    counts = [0] * threads
    waits: list[list[int]] = [[] for _ in range(threads)]
    begin = threading.Barrier(threads + 1)
    end = [0.0]

    def work(i: int) -> None:
        clock = time.perf_counter_ns
        mine = waits[i]
        done = 0
        begin.wait()
        while time.perf_counter() < end[0]:
            for _ in range(_EVERY - 1):
                acquire("hot")
            start = clock()
            acquire("hot")
            mine.append(clock() - start)
            done += _EVERY
        counts[i] = done

    pool = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for thread in pool:
        thread.start()
    end[0] = time.perf_counter() + seconds
    begin.wait()
    for thread in pool:
        thread.join()
    taken = sorted(ns for each in waits for ns in each)
    return {
        "name": name,
        "threads": threads,
        "decisions": sum(counts),
        "per_second": sum(counts) / seconds,
        "p99_us": taken[int(len(taken) * 0.99)] / 1000,
    }
