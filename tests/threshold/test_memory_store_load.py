"""MemoryStore under floods and threads: the bound in keys and in bytes, and exact totals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from types import FrameType

import pytest

from threshold import Ladder, Limiter, MemoryStore, Rung, SlidingWindow, TokenBucket
from threshold.plan import Limit, Plan, Rule
from threshold.stores import key_table, memory
from threshold.stores.base import bind
from threshold.testing import ManualClock, worst_window
from threshold.testing.contract_base import plan

_FLOOD = """
import json, resource
from threshold import Ladder, MemoryStore, Rung, SlidingWindow
from threshold.plan import Rule
from threshold.stores.base import bind
from threshold.testing import ManualClock
from threshold.testing.contract_base import plan

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

clock = ManualClock()
store = MemoryStore(100_000, clock=clock)
user = Rule.of("user", "user", SlidingWindow("5/hour"), strikes=True)
edge = Rule.of("edge", "edge", SlidingWindow("1000/day"))
ban = Ladder([Rung(ban=86_400)])
for _ in range(5):
    store.decide(plan([user], "limited"))
for _ in range(6):
    banned = store.decide(plan([user], "banned", ladder=ban))
assert banned.banned
take, longest = bind(store, edge), 0
for i in range(100_000):
    take(f"198.51.{i}", 1)
full = peak()
for i in range(100_000, 2_000_000):
    clock.now_us += 100
    take(f"198.51.{i}", 1)
    longest = max(longest, len(store)) if i & 1023 == 0 else longest
print(json.dumps({
    "keys": max(longest, len(store)),
    "overflowed": store.overflowed,
    "grown": peak() - full,
    "limited": store.decide(plan([user], "limited")).allowed,
    "banned": store.decide(plan([user], "banned", ladder=ban)).banned,
}))
"""


def test_two_million_junk_keys_reset_nobody_and_take_no_more_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD], capture_output=True, text=True, timeout=120, check=True
    )
    said = json.loads(done.stdout)
    assert said["keys"] == 100_000
    assert said["overflowed"] > 1_890_000
    assert said["limited"] is False and said["banned"] is True
    assert said["grown"] < 4_000_000


@pytest.mark.parametrize("limit", [TokenBucket("100/minute"), SlidingWindow("100/minute")], ids=str)
def test_a_key_takes_no_more_than_250_bytes(limit: Limit) -> None:
    count = 100_000
    clock = ManualClock(10**12)
    rule = Rule.of("user", "user", limit)
    tracemalloc.start()
    try:
        store = MemoryStore(2 * count, clock=clock)
        take = bind(store, rule)
        before = tracemalloc.get_traced_memory()[0]
        for i in range(count):
            clock.now_us += 5
            take(f"user{100_000 + i}", 1)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(store) == count
    assert taken / count <= 250


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads switch after every few bytecodes."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def hammer(threads: int, work: Callable[[int], None]) -> None:
    """Run `work(number)` in many threads that start together; a failure in one is a failure."""
    failures: list[BaseException] = []
    gate = threading.Barrier(threads)

    def run(number: int) -> None:
        try:
            gate.wait()
            work(number)
        except BaseException as failure:
            failures.append(failure)

    started = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures, failures


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("limit", [TokenBucket("1/hour", burst=500), SlidingWindow("500/hour")], ids=str)
def test_sixteen_threads_get_exactly_the_limit_between_them(limit: Limit) -> None:
    limiter = Limiter(limit, store=MemoryStore())
    admitted: list[list[int]] = [[] for _ in range(16)]

    def work(number: int) -> None:
        for _ in range(100):
            decision = limiter.acquire("ann")
            if decision.allowed:
                admitted[number].append(decision.remaining)

    hammer(16, work)
    left = sorted(remaining for one in admitted for remaining in one)
    assert left == list(range(500)), "every charge was seen by the next"


@pytest.mark.usefixtures("restless")
def test_sixteen_threads_never_exceed_the_window_on_a_running_clock() -> None:
    """Audited with the store's own instants, while windows roll over."""
    store = MemoryStore()
    rule = Rule.of("r", "user", SlidingWindow("40 per 50 ms"))
    admitted: list[list[int]] = [[] for _ in range(16)]
    end = time.monotonic() + 0.6

    def work(number: int) -> None:
        while time.monotonic() < end:
            outcome = store.decide(plan([rule]))
            if outcome.allowed:
                admitted[number].append(outcome.at)

    hammer(16, work)
    events = [at for one in admitted for at in one]
    assert len(events) >= 200
    assert worst_window(events, 50_000) <= 40


@pytest.mark.usefixtures("restless")
def test_sixteen_threads_with_four_rules_charge_all_or_nothing() -> None:
    store = MemoryStore(200, clock=ManualClock())
    shared = [
        Rule.of("edge", "edge", TokenBucket("1/year", burst=900)),
        Rule.of("tenant", "tenant", SlidingWindow("700/year")),
    ]
    own = [
        Rule.of("user", "user", SlidingWindow("60/year")),
        Rule.of("post", "endpoint", TokenBucket("1/year", burst=80)),
    ]
    admitted = [0] * 16

    def work(number: int) -> None:
        rules = (*shared, *own)
        keys = (*(rule.scope + "all" for rule in shared), *(f"{rule.scope}{number}" for rule in own))
        asked = Plan.of(rules, keys)
        for _ in range(80):
            admitted[number] += store.decide(asked).allowed

    hammer(16, work)
    total = sum(admitted)
    assert total == 700 and max(admitted) <= 60
    left = [answer[1] for answer in store.decide(plan(shared, "all", cost=0)).found]
    assert left == [900 - total, 0]
    for number in range(16):
        left = [answer[1] for answer in store.decide(plan(own, str(number), cost=0)).found]
        assert left == [60 - admitted[number], 80 - admitted[number]]


@pytest.mark.usefixtures("restless")
def test_fifty_refusals_in_parallel_are_one_strike() -> None:
    store = MemoryStore()
    rule = Rule.of("r", "user", SlidingWindow("1/minute"), strikes=True)
    ladder = Ladder([Rung(forgive=True), Rung(ban=3600)])
    assert store.decide(plan([rule], ladder=ladder)).allowed
    strikes: list[int] = []
    hammer(50, lambda number: strikes.append(store.decide(plan([rule], ladder=ladder)).strike))
    assert sorted(strikes) == [0] * 49 + [1]


@pytest.mark.usefixtures("restless")
def test_threads_at_the_bound_keep_it() -> None:
    store = MemoryStore(300)
    rule = Rule.of("r", "user", TokenBucket("100/second", burst=1))
    take = bind(store, rule)

    def work(number: int) -> None:
        for i in range(400):
            take(f"{number}.{i}", 1)
            if i % 50 == 0:
                store.reset([f"{rule.scope}{number}.{i - 1}"])
            assert len(store) <= 300

    hammer(16, work)
    assert len(store) == sum(len(shard) for table in store._table.scopes.values() for shard in table.shards)
    assert len(store) == sum(len(bucket) for bucket in store._table._buckets.values())


class _Alarm(Exception):
    pass


def interrupted(at: int) -> bool:
    """Use a small store in which call number `at` raises, as a signal handler may; False if there is none."""
    clock, calls, random = ManualClock(), 0, Random(1)
    store = MemoryStore(8, clock=clock)
    store._table._most_shards = 3
    rules = (
        Rule.of("user", "user", TokenBucket("7/second"), strikes=True),
        Rule.of("post", "endpoint", SlidingWindow("2 per 3 seconds"), strikes=True),
    )
    inside = {memory.__file__, key_table.__file__}

    def ring(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if frame.f_code.co_filename in inside and event in ("call", "c_return"):
            calls += 1
            if calls == at:
                raise _Alarm

    for _ in range(40):
        clock.advance(random.choice((0, 0.1, 5)))
        asked = plan(rules, f"caller{random.randrange(9)}", ladder=Ladder([Rung()], decay=9))
        sys.setprofile(ring if calls < at else None)
        with suppress(_Alarm):
            store.decide(asked)
        sys.setprofile(None)
    tables = store._table.scopes.values()
    assert len(store) == sum(len(shard) for table in tables for shard in table.shards) <= 8
    assert all(name in table.home(name) for table in tables for shard in table.shards for name in shard)
    return calls >= at


def test_a_signal_handler_that_raises_anywhere_leaves_a_store_that_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_table, "_KEYS_PER_SHARD", 2)
    at = 1
    while interrupted(at):
        at += 5
    assert at > 1000


@pytest.mark.parametrize("planned", [False, True])
def test_a_signal_handler_that_raises_never_leaves_the_store_locked(planned: bool) -> None:
    store = MemoryStore()
    rule = Rule.of("r", "user", TokenBucket("1000/second"))
    take, asked = bind(store, rule), plan([rule])

    def ring(*_: object) -> None:
        raise _Alarm

    def free(store: MemoryStore) -> bool:
        """Whether another thread than the interrupted one gets the lock."""
        got = store._lock.acquire(blocking=False)
        if got:
            store._lock.release()
        return got

    others = ThreadPoolExecutor(1)
    usual = signal.signal(signal.SIGALRM, ring)
    try:
        for i in range(400):
            with pytest.raises(_Alarm):
                signal.setitimer(signal.ITIMER_REAL, 0.0001 + i % 97 * 1e-6)
                while True:
                    store.decide(asked) if planned else take("ann", 1)
            assert others.submit(free, store).result(), "the lock is still held"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
        others.shutdown()
