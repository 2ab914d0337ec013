"""The graduated response, told from the first warning to forgiveness, under the shipped policy."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from threshold import Caller, MemoryStore, Policy, SlidingWindow, Threshold, Verdict
from threshold.presets import default_arguments
from threshold.testing import ManualClock

LOGIN = Caller("203.0.113.9", "t1", "oak", "mallory", "POST", "/auth/login")
READING = Caller("203.0.113.9", "t1", "oak", "mallory", "GET", "/blog")
DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def guard(clock: ManualClock) -> Threshold:
    return Threshold(Policy.default(), store=MemoryStore(clock=clock))


def burst(guard: Threshold, count: int = 10) -> list[Verdict]:
    """Five logins are admitted in five minutes; the rest of a burst is refused."""
    return [guard.check(LOGIN) for _ in range(count)]


def test_the_whole_ladder(guard: Threshold, clock: ManualClock) -> None:
    # 1 and 2: one request of each burst is let through with a warning, the others are plain refusals.
    for strike in (1, 2):
        verdicts = burst(guard)
        assert [verdict.status for verdict in verdicts] == [200] * 6 + [429] * 4
        assert [verdict.warned for verdict in verdicts] == [False] * 5 + [True] + [False] * 4
        assert [verdict.outcome.strike for verdict in verdicts] == [0] * 5 + [strike] + [0] * 4
        assert ("X-RateLimit-Warning", "true") in verdicts[5].headers
        assert guard.check(READING).allowed, "other endpoints are free meanwhile"
        clock.advance(306)

    # 3: one minute of cooldown, for everything.
    verdicts = burst(guard)
    assert [verdict.status for verdict in verdicts] == [200] * 5 + [429] * 5
    assert verdicts[5].outcome.strike == 3
    assert not verdicts[5].warned and not verdicts[5].banned
    refused = guard.check(READING)
    assert (refused.status, refused.violated, refused.retry_after) == (429, (), 60.0)
    clock.advance(59.999999)
    assert guard.check(READING).status == 429
    clock.advance(0.000001)
    assert guard.check(READING).status == 200
    clock.advance(246)

    # 4: five minutes, and from then on a shadow ban.
    verdicts = burst(guard)
    assert [verdict.status for verdict in verdicts] == [200] * 5 + [429] * 5
    assert verdicts[5].outcome.strike == 4
    assert verdicts[-1].retry_after is not None and verdicts[-1].retry_after >= 300
    clock.advance(300)
    slow = guard.check(READING)
    assert slow.allowed and 1.0 <= slow.delay <= 3.0
    names = {name for name, _ in slow.headers}
    assert "X-RateLimit-Warning" not in names and "X-RateLimit-Banned" not in names
    clock.advance(6)

    # 5: a ban of 24 hours, and it says so.
    verdicts = burst(guard)
    assert verdicts[5].outcome.strike == 5
    assert verdicts[5].banned and verdicts[5].retry_after == DAY
    assert dict(verdicts[5].headers)["X-RateLimit-Banned"] == "true"
    assert dict(verdicts[5].headers)["Retry-After"] == "86400"
    clock.advance(DAY / 2)
    half = guard.check(READING)
    assert (half.status, half.banned, half.retry_after, half.outcome.strike) == (429, True, DAY / 2, 0)
    clock.advance(DAY / 2)

    # A day after the last strike all is forgotten: no ban, no delay, and the next strike is the first.
    again = guard.check(READING)
    assert (again.status, again.delay) == (200, 0.0)
    verdicts = burst(guard)
    assert (verdicts[5].outcome.strike, verdicts[5].warned) == (1, True)


def test_more_strikes_than_rungs_stay_on_the_last_one(guard: Threshold, clock: ManualClock) -> None:
    strikes: list[int] = []
    for _ in range(5):
        strikes += [verdict.outcome.strike for verdict in burst(guard) if verdict.outcome.strike]
        clock.advance(306)
    guard.unban("mallory", tenant="t1")
    clock.advance(306)
    assert strikes == [1, 2, 3, 4, 5]
    assert burst(guard)[5].outcome.strike == 1


def test_fifty_refusals_at_once_are_one_strike(guard: Threshold) -> None:
    with ThreadPoolExecutor(16) as pool:
        verdicts = list(pool.map(guard.check, [LOGIN] * 55))
    assert sum(verdict.outcome.strike for verdict in verdicts) == 1
    assert sum(verdict.warned for verdict in verdicts) == 1
    assert sum(verdict.allowed for verdict in verdicts) == 6, "five by right, one forgiven"


def test_whoever_heeds_the_header_fields_is_never_refused(guard: Threshold, clock: ManualClock) -> None:
    for _ in range(100):
        verdict = guard.check(LOGIN)
        assert (verdict.status, verdict.warned) == (200, False)
        state = re.fullmatch(r'"[^"]*";r=(\d+);t=(\d+)', dict(verdict.headers)["RateLimit"])
        assert state is not None
        if int(state[1]) == 0:
            clock.advance(int(state[2]))


def test_a_day_between_strikes_is_a_clean_sheet(guard: Threshold, clock: ManualClock) -> None:
    for _ in range(4):
        assert burst(guard)[5].outcome.strike == 1
        clock.advance(DAY)


def test_a_second_less_than_a_day_is_remembered(guard: Threshold, clock: ManualClock) -> None:
    burst(guard)
    clock.advance(DAY - 1)
    assert burst(guard)[5].outcome.strike == 2


def test_the_ban_of_one_user_touches_nobody_else(guard: Threshold, clock: ManualClock) -> None:
    for _ in range(5):
        burst(guard)
        clock.advance(306)
    assert guard.check(READING).banned
    for neighbour in (
        Caller("203.0.113.9", "t1", "oak", "alice", "GET", "/blog"),
        Caller("203.0.113.9", "t2", "oak", "mallory", "GET", "/blog"),
        Caller("203.0.113.9", None, None, None, "GET", "/blog"),
    ):
        verdict = guard.check(neighbour)
        assert (verdict.allowed, verdict.delay) == (True, 0.0)


def test_a_stranger_cannot_get_a_user_banned_from_its_address(guard: Threshold, clock: ManualClock) -> None:
    anonymous = Caller("203.0.113.9", method="POST", path="/auth/login")
    for _ in range(10):
        for _ in range(100):
            assert guard.check(anonymous).outcome.strike == 0
        clock.advance(306)
    assert guard.check(READING).allowed


def test_without_a_ladder_refusals_stay_refusals(clock: ManualClock) -> None:
    arguments = default_arguments()
    policy = Policy(edge=arguments["edge"], user={"POST /auth/login": SlidingWindow("5 per 5 minutes")})
    guard = Threshold(policy, store=MemoryStore(clock=clock))
    for _ in range(10):
        assert [verdict.status for verdict in burst(guard)] == [200] * 5 + [429] * 5
        clock.advance(306)
