"""Remembered refusals: bounded, and they change no verdict, no strike and no ban."""

from __future__ import annotations

import asyncio
import secrets
from random import Random

import pytest

from threshold import AsyncLimiter, Decision, Limiter, TokenBucket
from threshold.plan import Outcome, Plan, Rule
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.stores.redis.refusals import Refusals
from threshold.testing import ManualClock

from .servers import Server
from .walks import START, Twin, keys_of, steps

RULE = Rule.of("k", "user", TokenBucket("1/second"))


def verdict(outcome: Outcome) -> tuple[object, ...]:
    return outcome.allowed, outcome.strike, outcome.blocked_us, outcome.banned, outcome.shadowed, outcome.at


def test_a_store_that_remembers_decides_strikes_and_bans_as_the_engine_does(shared_server: Server) -> None:
    saved = refused = 0
    for seed in range(1, 61, 2):
        twin, clock = Twin(), ManualClock(START)
        store = RedisStore(shared_server.url, prefix=secrets.token_hex(6), clock=clock, budget=10)
        for n, (step, expected) in enumerate(steps(Random(seed), 300, twin, back=False)):
            clock.now_us = step.now
            if step.what == "refund":
                store.refund(step.plan, step.at)
            elif step.what == "reset":
                store.reset(keys_of(step.plan))
            else:
                assert expected is not None
                known = store._refusals.find(step.plan, step.now)
                outcome = store.decide(step.plan)
                assert verdict(outcome) == verdict(expected), f"seed {seed}, step {n}: {step}"
                if not outcome.allowed:
                    longest = max((answer[0] for answer in expected.found), default=0)
                    assert max((answer[0] for answer in outcome.found), default=0) <= longest
                    refused += 1
                    saved += known is not None
        store.close()
    assert saved > 100, f"{saved} of {refused} refusals came from memory: the walks missed the point"


def test_the_table_is_bounded_and_forgets_all_at_once() -> None:
    table = Refusals()
    refusal = Outcome(False, [(500_000, 0, 500_000, None)], 0)
    for i in range(30_000):
        table.remember(Plan((RULE,), (f"u{i}",)), refusal, 500_000, asked=0, now=0)
        assert len(table) <= 8192
    assert table.find(Plan((RULE,), ("u29999",)), now=1) is not None
    table.forget()
    assert table.find(Plan((RULE,), ("u29999",)), now=1) is None


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_an_answer_that_is_read_late_refuses_nobody_for_longer_than_the_server_said(
    kind: type[RedisStore] | type[AsyncRedisStore], shared_server: Server
) -> None:
    """Read 80 ms after the decision, a refusal for 100 ms holds for the 20 ms that are left."""

    async def decided() -> list[Decision]:
        # For each decision: when it is asked for, when it is made, and, of the refusal, when it is read.
        ticks = iter([0, 0, 0, 0, 80_000, 99_999, 100_000, 100_000])
        store = kind(
            shared_server.url, prefix=secrets.token_hex(6), clock=lambda: START + next(ticks), budget=10
        )
        limit = TokenBucket("10/second", burst=1)
        try:
            if isinstance(store, AsyncRedisStore):
                waiting = AsyncLimiter(limit, store)
                return [await waiting.acquire("ann") for _ in range(4)]
            limiter = Limiter(limit, store)
            return [limiter.acquire("ann") for _ in range(4)]
        finally:
            if isinstance(store, AsyncRedisStore):
                await store.aclose()
            else:
                store.close()

    found = asyncio.run(decided())
    assert [one.allowed for one in found] == [True, False, False, True]
    assert found[1].retry_after_us == 100_000
    assert found[2].retry_after_us == 80_001, "counted from when it was read: never told to come too early"


def test_nothing_is_remembered_for_longer_than_a_second_or_for_a_peek() -> None:
    table = Refusals()
    plan = Plan((RULE,), ("ann",))
    table.remember(plan, Outcome(False, [(10**9, 0, 10**9, None)], 0), 10**9, asked=0, now=0)
    assert table.find(plan, now=999_999) is not None
    assert table.find(plan, now=1_000_000) is None
    assert table.find(plan, now=-1) is None
    assert table.find(Plan((RULE,), ("ann",), peek=True), now=1) is None
    assert table.find(Plan((RULE,), ("ann",), 2), now=1) is None
