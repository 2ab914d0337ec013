"""Events: one per transition, frozen, never a raw identity, harmless when a hook is not."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields

import pytest
from failing_store import AwaitedStore, FailingStore

from threshold import AsyncThreshold, Caller, Ladder, MemoryStore, Policy, Rung, SlidingWindow, Threshold
from threshold.events import (
    Banned,
    Event,
    Overflowed,
    Refused,
    StoreFailed,
    StoreRecovered,
    Struck,
    Unbanned,
)
from threshold.testing import ManualClock

USER = Caller("203.0.113.9", "acme", None, "alice@example.org", "POST", "/api/posts")
WINDOW = SlidingWindow("2/minute")


class Ears:
    """A hook that remembers."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)

    def kinds(self) -> list[str]:
        kinds = [type(event).__name__ for event in self.heard]
        self.heard.clear()
        return kinds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ears() -> Ears:
    return Ears()


def guard_of(policy: Policy, clock: ManualClock, ears: Ears) -> Threshold:
    return Threshold(policy, MemoryStore(clock=clock), hooks=[ears])


def test_admitted_requests_are_no_event(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy.default(), clock, ears)
    for _ in range(5):
        guard.check(USER)
    assert ears.kinds() == []


def test_the_first_refusal_is_told_and_not_the_next_until_the_limit_admits_again(
    clock: ManualClock, ears: Ears
) -> None:
    guard = guard_of(Policy(user=WINDOW), clock, ears)
    for _ in range(50):
        guard.check(USER)
    assert ears.kinds() == ["Refused"]
    clock.advance(61)
    for _ in range(50):
        guard.check(USER)
    assert ears.kinds() == ["Refused"]


def test_a_refusal_says_what_refused_and_when_to_come_back(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(tenant="2/minute", user=WINDOW, name="blog"), clock, ears)
    verdicts = [guard.check(USER) for _ in range(3)]
    [event] = ears.heard
    assert isinstance(event, Refused)
    assert (event.policy, event.dry_run) == ("blog", False)
    assert (event.layers, event.violated) == (("tenant", "user"), ("tenant", "user"))
    assert event.retry_after == verdicts[-1].retry_after


def test_a_limit_that_never_admits_is_told_once_per_window(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user="0/hour"), clock, ears)
    for _ in range(7200):
        guard.check(USER)
        clock.advance(1)
    assert [event.retry_after for event in ears.heard if isinstance(event, Refused)] == [None, None]


def test_each_rung_of_the_ladder_is_told_once(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user=WINDOW, ladder=Ladder.default()), clock, ears)

    def burst() -> list[Event]:
        ears.heard.clear()
        for _ in range(50):
            guard.check(USER)
        return list(ears.heard)

    told = []
    for pause in (62, 62, 62, 302, 302):
        told.append(burst())
        clock.advance(pause)
    assert [[type(event).__name__ for event in events] for events in told] == [
        ["Struck", "Refused"],
        ["Struck", "Refused"],
        ["Struck", "Refused"],
        ["Struck", "Refused"],
        ["Banned", "Refused"],
    ]
    strikes = [event for events in told for event in events if isinstance(event, Struck)]
    assert [(e.strike, e.forgiven, e.cooldown, e.shadow_banned) for e in strikes] == [
        (1, True, 0.0, False),
        (2, True, 0.0, False),
        (3, False, 60.0, False),
        (4, False, 300.0, True),
    ]
    ban = told[-1][0]
    assert isinstance(ban, Banned)
    assert (ban.strike, ban.duration) == (5, 86_400.0)
    assert (
        len({event.caller for events in told for event in events if isinstance(event, (Struck, Banned))}) == 1
    )


def test_an_unban_is_told_with_the_same_name_as_the_ban(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)])), clock, ears)
    for _ in range(3):
        guard.check(USER)
    guard.unban(USER.user, tenant=USER.tenant)
    banned, unbanned = ears.heard[0], ears.heard[-1]
    assert isinstance(banned, Banned) and isinstance(unbanned, Unbanned)
    assert banned.caller == unbanned.caller


def test_two_callers_have_two_names(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user="0/hour"), clock, ears)
    for user in ("a", "b", "c"):
        guard.check(Caller(user=user))
    assert len({event.caller for event in ears.heard if isinstance(event, Refused)}) == 3


def test_no_identity_leaks_into_an_event_or_a_log_line(
    clock: ManualClock, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "threshold")
    policy = Policy("3/minute", "9/hour", WINDOW, {"POST /api/posts": "2/hour"}, Ladder([Rung(ban=60)]))
    guard = guard_of(policy, clock, ears)
    for caller in (USER, Caller("203.0.113.9"), Caller("2001:db8::1")):
        for _ in range(10):
            guard.check(caller)
    guard.unban(USER.user, tenant=USER.tenant)
    assert {type(event) for event in ears.heard} == {Refused, Banned, Unbanned}
    said = repr(ears.heard) + caplog.text + repr([vars(record) for record in caplog.records])
    for secret in ("alice", "example.org", "acme", "203.0.113", "2001:db8"):
        assert secret not in said


def test_names_mean_nothing_in_another_process(clock: ManualClock) -> None:
    names = set()
    for _ in range(2):
        ears = Ears()
        guard_of(Policy(user="0/hour"), clock, ears).check(USER)
        [event] = ears.heard
        assert isinstance(event, Refused)
        names.add(event.caller)
    assert len(names) == 2


def test_a_dry_run_says_so(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user=WINDOW, ladder=Ladder.default(), dry_run=True), clock, ears)
    for _ in range(4):  # two within the limit, one that is forgiven, one that is not
        guard.check(USER)
    assert [(type(event).__name__, event.dry_run) for event in ears.heard if hasattr(event, "dry_run")] == [
        ("Struck", True),
        ("Refused", True),
    ]
    refused = ears.heard[1]
    assert isinstance(refused, Refused) and refused.violated == ("user",)


def test_peek_tells_nothing(clock: ManualClock, ears: Ears) -> None:
    guard = guard_of(Policy(user="0/hour", ladder=Ladder.default()), clock, ears)
    guard.peek(USER)
    assert ears.heard == []


def test_an_overflow_is_told_at_1_2_4_and_so_on(clock: ManualClock, ears: Ears) -> None:
    guard = Threshold(Policy(user="5/hour"), MemoryStore(2, clock=clock), hooks=[ears])
    for n in range(102):
        guard.check(Caller(user=f"u{n}"))
    told = [event.decisions for event in ears.heard if isinstance(event, Overflowed)]
    assert told[:4] == [1, 2, 4, 8]
    assert told == [2**n for n in range(len(told))]


def test_a_strike_that_a_full_store_cannot_remember_is_told_as_an_overflow(
    clock: ManualClock, ears: Ears
) -> None:
    guard = Threshold(
        Policy(user="1/hour", ladder=Ladder.default()), MemoryStore(1, clock=clock), hooks=[ears]
    )
    assert [guard.check(USER).status for _ in range(2)] == [200, 429]
    assert ears.kinds() == ["Overflowed", "Refused"]


def test_a_store_that_goes_and_comes_back_is_told_once_each(ears: Ears) -> None:
    store, awaited = FailingStore(), AwaitedStore()
    guard = Threshold(Policy(user="9/h"), store, hooks=[ears])
    waiting = AsyncThreshold(Policy(user="9/h"), awaited, hooks=[ears])
    for failing, check in (
        (store, guard.check),
        (awaited.store, lambda caller: asyncio.run(waiting.check(caller))),
    ):
        check(USER)
        failing.away = True
        for _ in range(5):
            check(USER)
        failing.away = False
        for _ in range(5):
            check(USER)
        assert ears.kinds() == ["StoreFailed", "StoreRecovered"]
    store.away = True
    guard.check(USER)
    [event] = ears.heard
    assert isinstance(event, StoreFailed) and event.error == "connection refused"


def test_a_hook_that_raises_hurts_neither_the_request_nor_the_other_hooks(
    clock: ManualClock, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("my pager is down")

    guard = Threshold(Policy(user="0/hour"), MemoryStore(clock=clock), hooks=[broken, ears])
    assert guard.check(USER).status == 429
    assert ears.kinds() == ["Refused"]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None and "my pager is down" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "event",
    [
        Refused("p", "c", ("user",), ("user",), 1.0, False),
        Struck("p", "c", 1, True, 0.0, False, False),
        Banned("p", "c", 5, 60.0, False),
        Unbanned("p", "c"),
        Overflowed("p", 1),
        StoreFailed("p", "gone"),
        StoreRecovered("p"),
    ],
)
def test_events_are_frozen_and_name_their_policy(event: Event) -> None:
    assert event.policy == "p"
    for field in fields(event):
        with pytest.raises(FrozenInstanceError):
            setattr(event, field.name, None)


def test_the_log_carries_each_event_as_data(
    clock: ManualClock, ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "threshold")
    guard = guard_of(Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)]), name="blog"), clock, ears)
    for _ in range(3):
        guard.check(USER)
    told = [(vars(record)["threshold_event"], vars(record)["threshold"]) for record in caplog.records]
    assert [name for name, _ in told] == ["Banned", "Refused"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert told[0][1] | {"caller": ""} == {
        "policy": "blog",
        "caller": "",
        "strike": 1,
        "duration": 60.0,
        "dry_run": False,
    }
    json.dumps([details for _, details in told])


def test_nothing_is_printed_unless_logging_is_set_up() -> None:
    code = (
        "from threshold import *\n"
        "guard = Threshold(Policy(user='0/hour', ladder=Ladder([Rung(ban=60)])), MemoryStore(),"
        " hooks=[lambda event: 1 / 0])\n"
        "assert guard.check(Caller(user='u1')).status == 429\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
