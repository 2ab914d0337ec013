"""Exact under concurrency: every decision of a fleet is replayed, and none may have been different."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from threshold import SlidingWindow, TokenBucket
from threshold.plan import Limit, Plan, Rule
from threshold.stores.redis import RedisStore
from threshold.testing import worst_window

from .servers import Server

WINDOW = SlidingWindow("200/second")
BUCKET = TokenBucket("150/second", burst=40)
Told = Sequence[tuple[int, bool]]


def audit(limit: Limit, told: Told) -> int:
    """Replay what callers were told, in the order of the server's clock; returns the number admitted.

    Decisions of one microsecond are alike but for their order, so their numbers are compared.
    """
    at: dict[int, list[bool]] = defaultdict(list)
    for instant, allowed in told:
        at[instant].append(allowed)
    state = None
    for instant in sorted(at):
        expected = 0
        for _ in at[instant]:
            retry, _, _, state = limit.step(state, instant, 1)
            expected += retry == 0
        assert sum(at[instant]) == expected, f"at {instant}: admitted {sum(at[instant])}, not {expected}"
    return sum(allowed for _, allowed in told)


def promised(limit: Limit, told: Told) -> None:
    """No window over the limit, whoever looks."""
    admitted = [instant for instant, allowed in told if allowed]
    worst = worst_window(admitted, limit.window_us)
    assert worst <= (200 if isinstance(limit, SlidingWindow) else 40 + 150), worst


def fleet(server: Server, seconds: float, remember: float) -> list[list[tuple[int, bool]]]:
    """Four processes of 64 tasks, their clocks up to 11 s apart; what they were told, per limit."""
    prefix = secrets.token_hex(5)
    worker = str(Path(__file__).with_name("fleet_worker.py"))
    workers = [
        subprocess.Popen(
            [sys.executable, worker, server.url, prefix, str(seconds), "64", str(skew), str(remember)],
            stdout=subprocess.PIPE,
        )
        for skew in (0, 11, -5.5, 3)
    ]
    told: list[list[tuple[int, bool]]] = [[], []]
    for process in workers:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for which, answers in enumerate(json.loads(output)):
            told[which] += [(instant, allowed) for instant, allowed in answers]
    return told


def test_four_processes_of_64_tasks_are_told_what_one_would_be(shared_server: Server) -> None:
    told = fleet(shared_server, 2.0, 0)
    for limit, answers in zip((WINDOW, BUCKET), told, strict=True):
        assert audit(limit, answers) >= 200
        assert len(answers) > 2000
        promised(limit, answers)


def test_remembered_refusals_change_nothing_about_what_is_admitted(shared_server: Server) -> None:
    told = fleet(shared_server, 2.0, 1)
    for limit, answers in zip((WINDOW, BUCKET), told, strict=True):
        promised(limit, answers)
        # Every admission there was room for was made: at most one sub-window passes before a caller knows.
        first = min(instant for instant, _ in answers)
        last = max(instant for instant, _ in answers)
        admitted = sum(allowed for _, allowed in answers)
        per_second = 200 / 1.1 if isinstance(limit, SlidingWindow) else 150
        assert admitted >= 0.8 * per_second * (last - first) / 1_000_000


def test_eight_threads_are_told_what_one_would_be(shared_server: Server) -> None:
    store = RedisStore(shared_server.url, prefix=secrets.token_hex(5), budget=5, remember=0)
    rules = [Rule.of("window", "user", WINDOW), Rule.of("bucket", "user", BUCKET)]
    told: list[list[tuple[int, bool]]] = [[], []]
    end = time.monotonic() + 1.2

    def ask(which: int) -> None:
        rule = rules[which]
        plan = Plan.of((rule,), (rule.scope + "all",), 1, group="all")
        while time.monotonic() < end:
            outcome = store.decide(plan)
            told[which].append((outcome.at, outcome.allowed))

    threads = [threading.Thread(target=ask, args=(i % 2,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    for limit, answers in zip((WINDOW, BUCKET), told, strict=True):
        assert audit(limit, answers) >= 180
        promised(limit, answers)


def test_the_audit_notices_one_admission_too_many() -> None:
    limit = TokenBucket("1/minute")
    assert audit(limit, [(5, True), (6, False)]) == 1
    with pytest.raises(AssertionError):
        audit(limit, [(5, True), (6, True)])
    with pytest.raises(AssertionError):
        audit(limit, [(5, True), (60_000_005, False)])
