"""What sharing one host's limits costs: SharedMemoryStore beside MemoryStore, Redis and SQLite.

    python benchmarks/shared_speed.py            all sections, about two minutes
    python benchmarks/shared_speed.py --quick    shorter samples
    python benchmarks/shared_speed.py --check    end with status 1 when a bound is missed

One process: batches of about a millisecond take turns, figures are medians, the ratio is that of neighbours.
Four processes: each contender in turn, several rounds; every call is timed. Before that, each contender has
to admit exactly its limit to four processes at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path
from statistics import median

from sampling import WorkloadError
from shared_crowds import PROCESSES, Crowd, crowds
from threshold import (
    Caller,
    Ladder,
    Limiter,
    MemoryStore,
    Policy,
    Rate,
    SlidingWindow,
    Threshold,
    Tiers,
    TokenBucket,
    Verdict,
    presets,
)
from threshold.plan import Limit
from threshold.stores.shared import SharedMemoryStore

AMPLE = 10_000_000
MOST_RATIO = 4.0
MOST_POLICY_US = 15.0
LEAST_PER_SECOND = 150_000

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Pair:
    """One decision in microseconds: in memory, in shared memory, and how many times as long."""

    what: str
    memory_us: float
    shared_us: float
    ratio: float


@contextlib.contextmanager
def shared_store(max_keys: int = 100_000) -> Iterator[SharedMemoryStore]:
    """A store of this run's own, gone afterwards."""
    name = f"bench-{os.getpid()}-{secrets.token_hex(4)}"
    store = SharedMemoryStore(name, max_keys)
    try:
        yield store
    finally:
        store.close()
        SharedMemoryStore.remove(name)


def compare(what: str, memory: Call, shared: Call, batch: int, rounds: int) -> Pair:
    """Time both calls in turns."""
    pairs = [(_batch(memory, batch), _batch(shared, batch)) for _ in range(rounds + 1)]
    del pairs[0]  # the first round warms up
    return Pair(
        what,
        median(first for first, _ in pairs),
        median(second for _, second in pairs),
        median(second / first for first, second in pairs),
    )


def _batch(call: Call, size: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(size):
        call()
    return (time.perf_counter_ns() - began) / size / 1000


def one_process(batch: int, rounds: int) -> list[Pair]:
    """One decision of one limit, as an app makes it."""
    with shared_store() as shared:
        memory = MemoryStore(100_000)
        pairs = [
            _hot(memory, shared, TokenBucket(f"{AMPLE}/second"), batch, rounds),
            _hot(memory, shared, SlidingWindow(f"{AMPLE}/minute"), batch, rounds),
            _refusal(memory, shared, batch, rounds),
            _many(memory, shared, 10_000, batch, rounds),
            _many(memory, shared, 10_000_000, batch, rounds // 4),
        ]
        if shared.overflowed or memory.overflowed:
            raise WorkloadError("the tables were full")
    return pairs


def _hot(memory: MemoryStore, shared: SharedMemoryStore, limit: Limit, batch: int, rounds: int) -> Pair:
    theirs, ours = (Limiter(limit, store, name="hot") for store in (memory, shared))
    pair = compare(
        f"{limit.algorithm}, hot key", lambda: theirs.acquire("k"), lambda: ours.acquire("k"), batch, rounds
    )
    for limiter in (theirs, ours):
        if not limiter.acquire("k").allowed or limiter.store.state([f"{limiter._scope}k"]) == [None]:
            raise WorkloadError("nothing was charged")
    return pair


def _refusal(memory: MemoryStore, shared: SharedMemoryStore, batch: int, rounds: int) -> Pair:
    theirs, ours = (Limiter(SlidingWindow("5/day"), store, name="refused") for store in (memory, shared))
    for limiter in (theirs, ours):
        if [limiter.acquire("k").allowed for _ in range(6)] != [True] * 5 + [False]:
            raise WorkloadError("a limit of five admitted something else")
    return compare(
        "sliding-window, refusal", lambda: theirs.acquire("k"), lambda: ours.acquire("k"), batch, rounds
    )


def _many(memory: MemoryStore, shared: SharedMemoryStore, keys: int, batch: int, rounds: int) -> Pair:
    """Different keys, far apart; with more of them than calls, each is one that was never seen."""
    bucket = TokenBucket(f"{AMPLE}/day")
    theirs, ours = (Limiter(bucket, store, name=f"many{keys}") for store in (memory, shared))
    turns = (count(), count())
    what = f"{keys:,} keys" if keys < batch * rounds else "first request of a key"
    return compare(
        f"token-bucket, {what}",
        lambda: theirs.acquire(f"user-{next(turns[0]) * 7919 % keys}"),
        lambda: ours.acquire(f"user-{next(turns[1]) * 7919 % keys}"),
        batch,
        rounds,
    )


def _raised(table: dict[str, str]) -> dict[str, Limit]:
    """The shipped limits with other numbers: the same algorithms, windows and precision."""
    raised: dict[str, Limit] = {}
    for pattern, text in table.items():
        shipped = presets._limit(pattern, text, Fraction(1))
        rate = Rate(AMPLE, per=Fraction(shipped.window_us, 1_000_000))
        raised[pattern] = (
            SlidingWindow(rate, precision=shipped.precision)
            if isinstance(shipped, SlidingWindow)
            else TokenBucket(rate)
        )
    return raised


def whole_policy(batch: int, rounds: int) -> list[Pair]:
    """The shipped four-layer policy with every limit raised: the store's decision, and the whole check."""
    policy = Policy(
        edge=_raised(presets.EDGE),
        tenant=Tiers({tier: _raised(row) for tier, row in presets.TIERS.items()}, default="free"),
        user=_raised(presets.USER),
        endpoints=_raised(presets.ENDPOINTS),
        ladder=Ladder.default(),
    )
    caller = Caller(
        address="203.0.113.9", tenant="acme", tier="free", user="u1", method="POST", path="/api/posts"
    )
    plan = policy.plan(caller)
    if plan is None or len(plan.rules) < 4 or plan.abuse is None:
        raise WorkloadError("the caller does not meet all four layers")
    with shared_store() as shared:
        memory = MemoryStore(100_000)
        layers = f"{len(plan.rules)} limits and the abuse record"
        decide = compare(
            f"store.decide, {layers}",
            lambda: memory.decide(plan),
            lambda: shared.decide(plan),
            batch,
            rounds,
        )
        guards = [Threshold(policy, memory), Threshold(policy, shared)]
        check = compare(
            "Threshold.check, the whole policy",
            lambda: guards[0].check(caller),
            lambda: guards[1].check(caller),
            batch,
            rounds,
        )
        asks = [_ask(guard, caller) for guard in guards]
        asked = compare("as the middlewares ask, the whole policy", *asks, batch, rounds)
        if not all(guard.check(caller).allowed for guard in guards) or any(
            isinstance(ask(), Verdict) for ask in asks
        ):
            raise WorkloadError("the policy refused, or a request was no ordinary one")
    return [decide, check, asked]


def _ask(guard: Threshold, caller: Caller) -> Call:
    """One request as a middleware asks about it: no caller, and a plan only where one is needed."""
    target = guard.policy.target(caller.method, caller.path)
    admit, judge = guard.admit, guard.judge

    def ask() -> object:
        asked = guard.policy.asked(caller.address, caller.tenant, caller.tier, caller.user, target, 1)
        return None if asked is None else admit(asked) or judge(asked)

    return ask


def missed(single: list[Pair], policy: list[Pair], together: list[Crowd]) -> list[str]:
    """The bounds that these figures miss."""
    found = [
        f"{pair.what}: {pair.ratio:.2f} times MemoryStore, at most {MOST_RATIO:g}"
        for pair in single
        if pair.ratio > MOST_RATIO
    ]
    found += [
        f"{pair.what}: {pair.shared_us:.1f} us, at most {MOST_POLICY_US:g}"
        for pair in policy
        if pair.shared_us > MOST_POLICY_US
    ]
    found += [
        f"{crowd.store}, {crowd.keys} keys: {crowd.per_second:,.0f}/s, at least {LEAST_PER_SECOND:,}"
        for crowd in together
        if crowd.store == "shared memory" and crowd.per_second < LEAST_PER_SECOND
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter samples, fewer rounds")
    parser.add_argument("--check", action="store_true", help="status 1 when a bound is missed")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    batch, rounds, seconds, crowd_rounds = (400, 60, 1.0, 2) if options.quick else (400, 400, 3.0, 3)
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, CPython {platform.python_version()}\n")
    single, policy = one_process(batch, rounds), whole_policy(batch, rounds)
    print("| one process, us per decision | MemoryStore | SharedMemoryStore | ratio |\n|---|---|---|---|")
    for pair in (*single, *policy):
        print(f"| {pair.what} | {pair.memory_us:.2f} | {pair.shared_us:.2f} | {pair.ratio:.2f} |")
    together = crowds(seconds, crowd_rounds)
    print(f"\n| {PROCESSES} processes | keys each | decisions/s | p50 us | p99 us | p99.9 us |")
    print("|---|---|---|---|---|---|")
    for crowd in together:
        latencies = f"{crowd.p50_us:.1f} | {crowd.p99_us:.0f} | {crowd.p999_us:.0f}"
        print(f"| {crowd.store} | {crowd.keys} | {crowd.per_second:,.0f} | {latencies} |")
    if options.json:
        figures = {"one_process": single, "policy": policy, "four_processes": together}
        content = {what: [asdict(figure) for figure in part] for what, part in figures.items()}
        Path(options.json).write_text(json.dumps(content, indent=1) + "\n")
    misses = missed(single, policy, together)
    print("\n" + ("\n".join(f"missed: {miss}" for miss in misses) or "all bounds held"))
    if options.check and misses:
        sys.exit(1)


if __name__ == "__main__":
    main()
