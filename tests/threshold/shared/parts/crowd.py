"""A crowd of processes on one store: random starts, stops and forks, every admission logged.

    python crowd.py NAME SECONDS SEED FOLDER          keep a crowd of 8, then print what happened as JSON
    python crowd.py NAME SECONDS SEED FOLDER UNTIL    be one of the crowd, started from nothing

Each process appends (rule, key, instant, cost) of what it was admitted to a log of its own in FOLDER, with
the instant at which the store decided.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from random import Random

from threshold import SlidingWindow, StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.base import bind
from threshold.stores.memory import monotonic_us
from threshold.stores.shared import SharedMemoryStore

SIZE = 8
MAX_KEYS = 2_000
EVENT = struct.Struct("=hhqq")
RULES = (
    Rule.of("window", "user", SlidingWindow("400/second")),
    Rule.of("fine", "user", SlidingWindow("300 per 500 ms", precision=100)),
    Rule.of("bucket", "user", TokenBucket("500/second", burst=100)),
    Rule.of("odd", "user", TokenBucket("997/second", burst=50)),
)
KEYS = 3
UNAVAILABLE = -1


class Seen(threading.local):
    """The instant of this thread's last decision."""

    at = 0

    def clock(self) -> int:
        self.at = monotonic_us()
        return self.at


seen = Seen()


def open_store(name: str) -> SharedMemoryStore:
    return SharedMemoryStore(name, MAX_KEYS, clock=seen.clock, timeout=20)


def be_one(store: SharedMemoryStore, seed: int, folder: Path, until: float) -> None:
    """Take what can be had, alone or in threads, until the end; fork now and then."""
    rng = Random(seed)
    wants_child = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: wants_child.set())
    log = os.open(folder / f"{os.getpid()}-{seed}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    others = [
        threading.Thread(target=take_some, args=(store, Random(seed + i), log, until, threading.Event()))
        for i in range(rng.choice((0, 0, 2)))
    ]
    for thread in others:
        thread.start()
    while time.monotonic() < until:
        take_some(store, rng, log, until, wants_child)
        if wants_child.is_set() and not others:
            wants_child.clear()
            if os.fork() == 0:
                seed = rng.getrandbits(30)
                log = os.open(folder / f"{os.getpid()}-{seed}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                rng = Random(seed)


def take_some(store: SharedMemoryStore, rng: Random, log: int, until: float, stop: threading.Event) -> None:
    takes = [bind(store, rule) for rule in RULES]
    while time.monotonic() < until and not stop.is_set():
        key = rng.randrange(KEYS)
        cost = rng.choice((1, 1, 1, 2, 5))
        try:
            if rng.random() < 0.7:
                number = rng.randrange(len(RULES))
                if takes[number](str(key), cost)[0] == 0:
                    os.write(log, EVENT.pack(number, key, seen.at, cost))
            else:
                plan = Plan.of(RULES, tuple(f"{rule.scope}{key}" for rule in RULES), cost)
                outcome = store.decide(plan)
                if outcome.allowed:
                    events = (EVENT.pack(number, key, outcome.at, cost) for number in range(len(RULES)))
                    os.write(log, b"".join(events))
        except StoreUnavailable:
            os.write(log, EVENT.pack(UNAVAILABLE, 0, 0, 0))
        if rng.random() < 0.2:
            time.sleep(rng.random() * 0.002)


def start(store: SharedMemoryStore, name: str, rng: Random, folder: Path, until: float) -> int:
    """A new process: a fork with the inherited store, or a program of its own."""
    seed = rng.getrandbits(30)
    if rng.random() < 0.15:
        command = [sys.executable, __file__, name, "0", str(seed), str(folder), str(until)]
        return os.posix_spawn(sys.executable, command, os.environ)
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        own = store if rng.random() < 0.5 else open_store(name)
        be_one(own, seed, folder, until)
        status = 0
    finally:
        os._exit(status)


def keep_crowd(name: str, seconds: float, seed: int, folder: Path) -> dict[str, object]:
    """Keep eight processes running while killing, stopping, forking and starting some."""
    rng = Random(seed)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # inherited, for those who have no handler yet
    store = open_store(name)
    began = time.monotonic()
    until = began + seconds
    pids = [start(store, name, rng, folder, until) for _ in range(SIZE)]
    counts = {"killed": 0, "stopped": 0, "forked": 0, "started": SIZE, "failed": 0}
    while time.monotonic() < until - 0.3:
        time.sleep(rng.random() * 0.06)
        i = rng.randrange(SIZE)
        action = rng.choice(("killed", "stopped", "forked"))
        if action == "forked":
            os.kill(pids[i], signal.SIGUSR1)
        else:
            os.kill(pids[i], signal.SIGKILL if action == "killed" else signal.SIGTERM)
            os.waitpid(pids[i], 0)
            pids[i] = start(store, name, rng, folder, until)
            counts["started"] += 1
        counts[action] += 1
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        counts["failed"] += status != 0
    report = {
        **counts,
        "seconds": time.monotonic() - began,
        "recovered": store.recovered,
        "damaged": store.damaged,
    }
    store.close()
    return report


def main() -> None:
    name, seconds, seed, folder = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if len(sys.argv) > 5:
        be_one(open_store(name), seed, folder, float(sys.argv[5]))
    else:
        print(json.dumps(keep_crowd(name, seconds, seed, folder)))


if __name__ == "__main__":
    main()
