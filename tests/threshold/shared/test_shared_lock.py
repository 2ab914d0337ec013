"""The lock: threads and processes exclude each other, forks inherit nothing, nobody waits for ever."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from threshold import Limiter, SlidingWindow, StoreUnavailable, TokenBucket
from threshold.plan import Plan, Rule
from threshold.sliding_window import counted
from threshold.stores.shared import SharedMemoryStore
from threshold.stores.shared import lock as shared_lock
from threshold.stores.shared import store as shared
from threshold.stores.shared import take as shared_take
from threshold.stores.shared.lock import TRY, UNLOCK, flock

_RULE = Rule.of("r", "user", SlidingWindow("1000/hour"))


@pytest.fixture
def store(name: str) -> Iterator[SharedMemoryStore]:
    made = SharedMemoryStore(name, 1_000, timeout=0.05)
    yield made
    made.close()


@pytest.fixture
def stopped_holder(store: SharedMemoryStore) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock of the store and does not move."""
    program = (
        "import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, store.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def test_a_stopped_holder_makes_the_store_unavailable_and_only_the_first_waits(
    store: SharedMemoryStore, stopped_holder: subprocess.Popen[bytes]
) -> None:
    take = store.bind(_RULE)
    key = "ann"
    plan = Plan.of((_RULE,), (_RULE.scope + key,))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"held the lock for 0\.05 s"):
        take(key, 1)
    assert time.monotonic() - began >= 0.05
    calls = (
        lambda: take(key, 1),
        lambda: store.decide(plan),
        lambda: store.refund(plan, 0),
        lambda: store.reset(list(plan.keys)),
        lambda: store.state(plan.keys),
    )
    began = time.monotonic()
    for _ in range(20):
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()
    assert time.monotonic() - began < 20 * len(calls) * 0.05 / 2, "the others gave up at once"
    stopped_holder.kill()
    stopped_holder.wait(10)
    assert take(key, 1)[0] == 0, "the kernel released the lock of the dead"
    assert counted(store.state(plan.keys)[0]) == 1


def test_a_closed_store_is_unavailable_and_touches_no_other_file(name: str) -> None:
    store = SharedMemoryStore(name, 100)
    take = store.bind(_RULE)
    bucket = Rule.of("b", "user", TokenBucket("5/second"))
    quick = store.bind(bucket)
    take("ann", 1)
    quick("ann", 1)
    store.close()
    other = SharedMemoryStore(name, 100)  # takes the numbers of the files that were closed
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="closed"):
            take("ann", 1)
        with pytest.raises(StoreUnavailable, match="closed"):
            quick("ann", 1)
        with pytest.raises(StoreUnavailable, match="closed"):
            store.state([_RULE.scope + "ann"])
    assert other.bind(_RULE)("ann", 1)[1] == 998
    other.close()


def test_threads_of_one_process_never_exceed_the_limit(name: str) -> None:
    stores = [SharedMemoryStore(name, 100, timeout=20) for _ in range(2)]
    admitted: list[int] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(limiter: Limiter) -> None:
        admitted.append(sum(limiter.acquire("all").allowed for _ in range(400)))

    try:
        limiters = [Limiter(SlidingWindow("1500/hour"), stores[i % 2]) for i in range(8)]
        threads = [threading.Thread(target=work, args=(limiter,)) for limiter in limiters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(admitted) == 1500
    for store in stores:
        store.close()


def _locked_by(store: SharedMemoryStore) -> str:
    """Whether a stranger could take the lock now."""
    fd = os.open(store.path, os.O_RDWR)
    try:
        return "held" if flock(fd, TRY) else "free"
    finally:
        os.close(fd)


def test_a_child_does_not_inherit_the_lock_of_a_fork_in_mid_decision(store: SharedMemoryStore) -> None:
    """The child of a fork while another thread decides; then the parent would die, and the child lives on."""
    entered, leave = threading.Event(), threading.Event()

    def slow_clock() -> int:
        entered.set()
        leave.wait(20)
        return 0

    store._nanoseconds = slow_clock
    plan = Plan.of((_RULE,), (_RULE.scope + "ann",))
    thread = threading.Thread(target=store.decide, args=(plan,))
    thread.start()
    entered.wait(20)
    assert _locked_by(store) == "held"
    reading, writing = os.pipe()
    pid = os.fork()  # waits for the decision, in vain: it is slower than the store's patience
    if pid == 0:
        os.read(reading, 1)
        os._exit(0 if store.state([plan.keys[0]]) != [None] else 1)  # no lock of its own is stuck either
    leave.set()
    thread.join(20)
    assert _locked_by(store) == "free", "the child holds the parent's lock"
    os.write(writing, b".")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(reading)
    os.close(writing)


def test_a_child_excludes_its_parent(store: SharedMemoryStore) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        flock(store._lock.fd, TRY)
        os.write(writing, b".")
        time.sleep(60)
        os._exit(0)
    os.read(reading, 1)
    with pytest.raises(StoreUnavailable):
        store.state([])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert store.state([]) == []
    os.close(reading)
    os.close(writing)


def test_a_program_that_is_started_inherits_no_file(store: SharedMemoryStore) -> None:
    program = (
        "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')][:-1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, close_fds=False, check=False
    )
    assert store.path not in done.stdout and ".guard" not in done.stdout


def test_a_fork_from_a_folder_that_is_gone_finds_the_file_anyway(store: SharedMemoryStore) -> None:
    moved = Path(store.path).rename(store.path + "-moved")
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if store.state([]) == [] else 1)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        moved.rename(store.path)


class Interrupted(Exception):
    """Raised by a signal handler, as time-outs of workers do."""


def test_exceptions_out_of_signal_handlers_never_leave_a_lock_behind(name: str) -> None:
    store = SharedMemoryStore(name, 1_000, timeout=5)
    bucket = Rule.of("b", "user", TokenBucket("1000000/second"))
    takes = [store.bind(rule) for rule in (bucket, _RULE)]
    plan = Plan.of((bucket, _RULE), (bucket.scope + "x", _RULE.scope + "x"))
    strikes = 0

    def strike(*_: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, strike)
    gc.disable()  # an exception inside a finalizer would be reported, not raised
    try:
        number = 0
        deadline = time.monotonic() + 60
        while strikes < 500 and time.monotonic() < deadline:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 + strikes % 97 * 0.000_003)
                while True:
                    number += 1
                    takes[number % 2](str(number % 50), 1)
                    store.decide(plan)
            except Interrupted:
                strikes += 1
                assert not store._lock.threads.locked()
                assert _locked_by(store) == "free"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()
    assert strikes == 500
    assert counted(store.state([plan.keys[1]])[0]) <= 1000
    store.close()


def test_the_lock_also_works_with_the_standard_librarys_flock(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_lock, "flock", shared_lock._checked_flock)
    for module in (shared, shared_take):
        monkeypatch.setattr(module, "flock", shared_lock._checked_flock)
    store = SharedMemoryStore(name, 100, timeout=0.01)
    take = store.bind(_RULE)
    assert take("ann", 1)[0] == 0
    fd = os.open(store.path, os.O_RDWR)
    assert flock(fd, TRY) == 0
    with pytest.raises(StoreUnavailable):
        take("ann", 1)
    assert flock(fd, UNLOCK) == 0
    assert take("ann", 1)[0] == 0
    os.close(fd)
    store.close()


def test_a_busy_thread_does_not_stretch_the_time_the_lock_is_held(name: str) -> None:
    """Giving up the interpreter lock with the file lock in hand would stretch it to 5 ms, again and again."""
    store = SharedMemoryStore(name, 100, timeout=20)
    held: list[int] = []
    stop = threading.Event()

    def burn() -> None:
        while not stop.is_set():
            sum(range(100))

    burner = threading.Thread(target=burn)
    burner.start()
    try:
        lock = store._lock
        for _ in range(2_000):
            with lock.threads:
                try:
                    assert flock(lock.fd, TRY) == 0
                    began = time.perf_counter_ns()
                    store._words[600]
                    held.append(time.perf_counter_ns() - began)
                finally:
                    flock(lock.fd, UNLOCK)
    finally:
        stop.set()
        burner.join()
    held.sort()
    assert held[1_900] < 1_000_000, "nineteen of twenty are far below a switch interval"
    store.close()


def test_a_ring_that_another_thread_grew_while_we_waited_is_decided_all_the_same(name: str) -> None:
    store = SharedMemoryStore(name, 100)
    limiter = Limiter(SlidingWindow("1000/hour", precision=360), store)
    for _ in range(2):  # the second one takes the quick way
        limiter.acquire("ann")
    ((place,),) = [names.values() for names in store._table.places.known.values() if names]
    threads = store._lock.threads
    inline = place.meta

    class Meanwhile:
        """The lock of this process, had by somebody else first: the ring has an extent by now."""

        def __enter__(self) -> None:
            threads.acquire()
            place.meta = inline | 13 << 3 | 2 << 16

        def __exit__(self, *error: object) -> None:
            threads.release()

    store._lock.threads = Meanwhile()  # type: ignore[assignment]
    try:
        assert limiter.acquire("ann").remaining == 997
    finally:
        store._lock.threads = threads
    assert limiter.acquire("ann").remaining == 996
    store.close()
