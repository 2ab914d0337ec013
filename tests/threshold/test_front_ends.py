"""Threshold and AsyncThreshold: a policy over a store."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
from failing_store import AwaitedStore, FailingStore
from hypothesis import given, settings
from hypothesis import strategies as st

from threshold import (
    AsyncThreshold,
    Caller,
    ConfigurationError,
    Ladder,
    MemoryStore,
    Policy,
    Rung,
    SlidingWindow,
    Threshold,
    Tiers,
)
from threshold.asgi import ThresholdMiddleware as ASGI
from threshold.plan import Limit, Plan
from threshold.stores.base import Store
from threshold.testing import ManualClock
from threshold.wsgi import ThresholdMiddleware as WSGI

WINDOW = SlidingWindow("2/hour")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


def test_nothing_is_charged_when_one_layer_refuses(store: MemoryStore) -> None:
    guard = Threshold(Policy("100/hour", "100/hour", "100/hour", {"POST /x": WINDOW}), store=store)
    caller = Caller("203.0.113.9", "t1", None, "u1", "POST", "/x")
    assert [guard.check(caller).status for _ in range(10)] == [200, 200] + [429] * 8
    elsewhere = Caller("203.0.113.9", "t1", None, "u1", "GET", "/y")
    assert [answer[1] for answer in guard.check(elsewhere).outcome.found] == [97, 97, 97]


def test_every_violated_limit_is_named(store: MemoryStore) -> None:
    guard = Threshold(Policy("1/hour", "1/hour", "1/hour", {"/": "1/hour"}), store=store)
    caller = Caller("203.0.113.9", "t1", None, "u1")
    guard.check(caller)
    assert guard.check(caller).violated == ("edge", "tenant", "user", "/")


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30), st.randoms())
def test_the_order_of_takes_is_irrelevant(moves: list[tuple[int, int]], random: object) -> None:
    policy = Policy("3/minute", "4/minute", "2/minute", {"/": WINDOW}, Ladder.default())
    caller = Caller("203.0.113.9", "t1", None, "u1")
    plan = policy.plan(caller)
    assert plan is not None
    clocks = [ManualClock() for _ in range(24)]
    stores = [MemoryStore(clock=clock) for clock in clocks]
    orders = list(itertools.permutations(range(4)))
    for seconds, cost in moves:
        verdicts = set()
        for clock, store, order in zip(clocks, stores, orders, strict=True):
            clock.advance(seconds * 7)
            turned = Plan.of(
                tuple(plan.rules[i] for i in order),
                tuple(plan.keys[i] for i in order),
                cost,
                plan.abuse,
                plan.ladder,
            )
            outcome = store.decide(turned)
            found = tuple(sorted(zip(order, outcome.found, strict=False)))
            verdicts.add((outcome.allowed, outcome.strike, outcome.blocked_us, outcome.shadowed, found))
        assert len(verdicts) == 1


def test_the_free_tier_may_never_use_ai_and_is_told_no_time(store: MemoryStore) -> None:
    verdict = Threshold(Policy.default(), store=store).check(
        Caller("203.0.113.9", "t1", "free", "u1", "POST", "/api/ai/draft")
    )
    assert (verdict.status, verdict.violated, verdict.retry_after) == (429, ("tenant:ai",), None)
    assert "Retry-After" not in dict(verdict.headers)
    assert verdict.outcome.strike == 0


def test_peek_charges_nothing_and_strikes_nobody(store: MemoryStore) -> None:
    guard = Threshold(Policy(user=WINDOW, ladder=Ladder.default()), store=store)
    caller = Caller(user="u1")
    assert [guard.peek(caller).allowed for _ in range(5)] == [True] * 5
    guard.check(caller), guard.check(caller)
    assert [guard.peek(caller).outcome.found[0][1] for _ in range(5)] == [0] * 5
    assert guard.check(caller).outcome.strike == 1


def test_allow_lists_never_reach_the_store() -> None:
    store = FailingStore()
    store.away = True
    policy = Policy(edge=WINDOW, allow=["10.0.0.0/8"], on_store_error="deny", headers="ietf")
    verdict = Threshold(policy, store=store).check(Caller("10.1.2.3"))
    assert (verdict.status, verdict.headers, store.asked) == (200, [], 0)


# Who may be struck


def test_only_authenticated_users_strike_by_default(store: MemoryStore) -> None:
    guard = Threshold(Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)])), store=store)
    stranger = Caller("203.0.113.9")
    verdicts = [guard.check(stranger) for _ in range(5)]
    assert [verdict.outcome.strike for verdict in verdicts] == [0] * 5
    assert not verdicts[-1].banned
    user = Caller("203.0.113.9", user="u1")
    assert [guard.check(user).outcome.strike for _ in range(3)] == [0, 0, 1]


def test_anonymous_callers_strike_by_address_when_told_to(store: MemoryStore) -> None:
    policy = Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)]), strike_anonymous=True)
    guard = Threshold(policy, store=store)
    assert [guard.check(Caller("203.0.113.9")).banned for _ in range(4)] == [False, False, True, True]
    assert guard.check(Caller("203.0.113.10")).allowed
    nowhere = [guard.check(Caller(None)) for _ in range(4)]
    assert [verdict.outcome.strike for verdict in nowhere] == [0] * 4, "a shared name is nobody's fault"


@pytest.mark.parametrize("layer", ["edge", "tenant"])
def test_a_busy_address_or_tenant_never_strikes(layer: str, store: MemoryStore) -> None:
    limits: dict[str, Limit] = {layer: WINDOW}
    guard = Threshold(Policy(**limits, ladder=Ladder([Rung(ban=60)])), store=store)  # type: ignore[arg-type]
    verdicts = [guard.check(Caller("203.0.113.9", "t1", None, "u1")) for _ in range(10)]
    assert [verdict.status for verdict in verdicts] == [200, 200] + [429] * 8
    assert not any(verdict.outcome.strike or verdict.banned for verdict in verdicts)


def test_a_request_is_forgiven_only_when_every_refusing_limit_may_strike(store: MemoryStore) -> None:
    forgiving = Ladder([Rung(forgive=True)])
    guard = Threshold(Policy(user=WINDOW, endpoints={"/x": WINDOW}, ladder=forgiving), store=store)
    caller = Caller("203.0.113.9", "t1", None, "u1", path="/x")
    verdicts = [guard.check(caller) for _ in range(3)]
    assert (verdicts[2].allowed, verdicts[2].warned, len(verdicts[2].violated)) == (True, True, 2)

    guard = Threshold(Policy(tenant=WINDOW, user="2/hour", ladder=forgiving, name="b"), store=store)
    verdicts = [guard.check(caller) for _ in range(3)]
    assert verdicts[2].violated == ("tenant", "user")
    assert (verdicts[2].allowed, verdicts[2].warned, verdicts[2].outcome.strike) == (False, False, 1)


def test_one_user_in_two_tenants_is_two_users(store: MemoryStore) -> None:
    guard = Threshold(Policy(user="1/hour"), store=store)
    assert guard.check(Caller(tenant="a", user="u1")).allowed
    assert guard.check(Caller(tenant="b", user="u1")).allowed
    assert not guard.check(Caller(tenant="a", user="u1")).allowed


def test_moving_within_a_64_does_not_help(store: MemoryStore) -> None:
    guard = Threshold(Policy(edge=WINDOW), store=store)
    statuses = [guard.check(Caller(f"2001:db8:0:7::{n:x}")).status for n in range(4)]
    assert statuses == [200, 200, 429, 429]
    assert guard.check(Caller("2001:db8:0:8::1")).status == 200


# Unban


def test_unban_lifts_every_penalty_and_forgets_the_strikes(store: MemoryStore, clock: ManualClock) -> None:
    ladder = Ladder([Rung(forgive=True), Rung(ban=86_400)])
    guard = Threshold(Policy(user=SlidingWindow("1/minute"), ladder=ladder), store=store)
    caller = Caller("203.0.113.9", "t1", None, "u1")
    assert [guard.check(caller).warned for _ in range(2)] == [False, True]
    clock.advance(120)
    assert [guard.check(caller).banned for _ in range(2)] == [False, True]
    clock.advance(3600)
    assert guard.check(caller).banned
    guard.unban("u2", tenant="t1")
    guard.unban("u1")
    assert guard.check(caller).banned, "another user, another tenant"
    guard.unban("u1", tenant="t1")
    assert guard.check(caller).allowed
    verdict = guard.check(caller)
    assert (verdict.outcome.strike, verdict.warned) == (1, True)


def test_an_anonymous_caller_is_unbanned_by_address(store: MemoryStore, clock: ManualClock) -> None:
    policy = Policy(user="1/minute", ladder=Ladder([Rung(ban=3600)]), strike_anonymous=True)
    guard = Threshold(policy, store=store)
    caller = Caller("2001:db8::1")
    assert [guard.check(caller).banned for _ in range(2)] == [False, True]
    clock.advance(120)
    assert guard.check(caller).banned
    guard.unban(address="2001:db8::ffff")
    assert not guard.check(caller).banned
    with pytest.raises(ConfigurationError):
        guard.unban()


# Dry run


def test_a_dry_run_reports_what_an_enforced_policy_would_do_and_never_enforces() -> None:
    def policy(dry_run: bool) -> Policy:
        return Policy("9/hour", "8/hour", SlidingWindow("2/minute"), ladder=Ladder.default(), dry_run=dry_run)

    clocks = ManualClock(), ManualClock()
    enforced = Threshold(policy(False), store=MemoryStore(clock=clocks[0]))
    rehearsed = Threshold(policy(True), store=MemoryStore(clock=clocks[1]))
    caller = Caller("203.0.113.9", "t1", None, "u1")
    statuses = set()
    for step in range(200):
        real, dry = enforced.check(caller), rehearsed.check(caller)
        statuses.add(real.status)
        assert (dry.allowed, dry.status, dry.delay, dry.warned, dry.banned) == (True, 200, 0.0, False, False)
        assert dry.headers == [] and dry.retry_after == 0.0
        would = dry.rehearsed
        assert would is not None
        assert (would.status, would.violated, would.retry_after) == (
            real.status,
            real.violated,
            real.retry_after,
        )
        assert (would.warned, would.banned, would.outcome.strike) == (
            real.warned,
            real.banned,
            real.outcome.strike,
        )
        for clock in clocks:
            clock.advance(7 * (step % 11))
    assert statuses == {200, 429}


def test_a_dry_run_never_consumes_the_enforced_state(store: MemoryStore) -> None:
    enforced = Threshold(Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)])), store=store)
    rehearsed = Threshold(Policy(user=WINDOW, ladder=Ladder([Rung(ban=60)]), dry_run=True), store=store)
    caller = Caller(user="u1")
    would = [rehearsed.check(caller).rehearsed for _ in range(20)]
    assert [verdict.banned for verdict in would if verdict is not None] == [False, False] + [True] * 18
    assert [enforced.check(caller).allowed for _ in range(3)] == [True, True, False]


# The store is away


def test_a_front_end_refuses_what_cannot_work() -> None:
    policy = Policy(user="1/h")
    with pytest.raises(ConfigurationError, match=r"Policy\.default"):
        Threshold({"user": "1/h"}, store=MemoryStore())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="MemoryStore"):
        Threshold(policy, store={})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="AsyncThreshold"):
        Threshold(policy, store=AwaitedStore())  # type: ignore[arg-type]

    class Blocking(FailingStore):
        blocking = True

    with pytest.raises(ConfigurationError, match="event loop"):
        AsyncThreshold(policy, store=Blocking())


def _asgi(store: Store, policy: Policy) -> weakref.ref[Any]:
    return weakref.ref(ASGI(cast(Any, print), policy=policy, store=store).threshold)


def _wsgi(store: Store, policy: Policy) -> weakref.ref[Any]:
    return weakref.ref(WSGI(cast(Any, print), policy=policy, store=store).threshold)


FRONTS: list[Callable[[Store, Policy], weakref.ref[Any]]] = [
    lambda store, policy: weakref.ref(Threshold(policy, store)),
    lambda store, policy: weakref.ref(AsyncThreshold(policy, store)),
    _asgi,
    _wsgi,
]


@pytest.mark.parametrize("dropped", FRONTS, ids=["sync", "async", "asgi", "wsgi"])
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("kind", [MemoryStore, FailingStore])
def test_who_is_dropped_lets_go_of_the_store_at_once(dropped: Any, dry_run: bool, kind: Any) -> None:
    policy = Policy(user="1/minute", dry_run=dry_run)
    gc.disable()
    try:
        assert dropped(kind(), policy)() is None
    finally:
        gc.enable()


def test_a_store_is_asked_about_every_limit_of_the_policy() -> None:
    class Small(FailingStore):
        def check(self, limit: Limit) -> None:
            if limit.limit > 100:
                raise ConfigurationError("limit", limit, "this store counts to 100")

    tiers = Tiers({"free": "1/h", "huge": "101/h"}, "free")
    for policy in (Policy(edge="101/h"), Policy(tenant=tiers), Policy(endpoints={"/": "101/h"})):
        with pytest.raises(ConfigurationError, match="counts to 100"):
            Threshold(policy, store=Small())
    Threshold(Policy("100/h"), store=Small())


def test_the_asynchronous_front_end_answers_as_the_synchronous_one() -> None:
    policy = Policy("9/h", "8/h", SlidingWindow("2/minute"), ladder=Ladder.default())
    clocks = ManualClock(), ManualClock(), ManualClock()
    guard = Threshold(policy, MemoryStore(clock=clocks[0]))
    in_memory = AsyncThreshold(policy, MemoryStore(clock=clocks[1]))
    awaited_store = AwaitedStore(clocks[2])
    awaited = AsyncThreshold(policy, awaited_store)
    caller = Caller("203.0.113.9", "t1", None, "u1")

    async def compare() -> None:
        for step in range(60):
            expected = guard.check(caller)
            for other in (in_memory, awaited):
                verdict = await other.check(caller)
                assert (verdict.status, verdict.violated, verdict.retry_after_us, verdict.warned) == (
                    expected.status,
                    expected.violated,
                    expected.retry_after_us,
                    expected.warned,
                )
                assert (await other.peek(caller)).status == guard.peek(caller).status
            if step == 40:
                guard.unban("u1", tenant="t1")
                await in_memory.unban("u1", tenant="t1")
                await awaited.unban("u1", tenant="t1")
            for clock in clocks:
                clock.advance(11)
        await in_memory.aclose()
        await awaited.aclose()

    asyncio.run(compare())
    assert awaited_store.closed
