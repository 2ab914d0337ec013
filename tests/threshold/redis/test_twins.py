"""decide.lua and engine.py are twins: the same random plans at the same instants, every field compared."""

from __future__ import annotations

import asyncio
import secrets
from itertools import groupby
from random import Random

import pytest

from threshold import MemoryStore
from threshold.plan import Plan
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.testing import ManualClock

from .servers import Server
from .walks import START, Step, Twin, fields, keys_of, shown, steps


def held(twin: Twin, plan: Plan) -> list[object]:
    """What a store must hold for a plan, as `state` shows it."""
    pairs = zip(plan.rules, plan.keys, strict=True)
    states: list[object] = [shown(rule, twin.states.get(key)) for rule, key in pairs]
    return states if plan.abuse is None else [*states, twin.records.get(plan.abuse)]


def compare(server: Server, seed: int, count: int) -> dict[str, int]:
    """Walk once with RedisStore and MemoryStore; returns what was met on the way."""
    rng = Random(seed)
    twin = Twin()
    clock = ManualClock(START)
    remote = RedisStore(server.url, prefix=secrets.token_hex(6), clock=clock, remember=0, budget=5)
    local = MemoryStore(clock=clock)
    met = dict.fromkeys(("admitted", "refused", "struck", "forgiven", "banned", "shadowed", "refunds"), 0)
    # A memory store forgets what is at rest, and may be asked about it again when the clock steps back:
    # it is compared on every other walk, where time goes on.
    back = seed % 2 == 0
    stores = (remote,) if back else (remote, local)
    for n, (step, expected) in enumerate(steps(rng, count, twin, back=back)):
        clock.now_us = step.now
        plan = step.plan
        where = f"seed {seed}, step {n}: {step}"
        if step.what == "refund":
            met["refunds"] += 1
            for store in stores:
                store.refund(plan, step.at)
        elif step.what == "reset":
            for store in stores:
                store.reset(keys_of(plan))
        else:
            assert expected is not None
            for store in stores:
                assert fields(store.decide(plan)) == fields(expected), where
            met["admitted" if expected.allowed else "refused"] += 1
            met["struck"] += expected.strike > 0
            met["forgiven"] += expected.allowed and expected.strike > 0
            met["banned"] += expected.banned
            met["shadowed"] += expected.shadowed
        if n % 5 == 0:
            assert remote.state(keys_of(plan)) == held(twin, plan), where
    remote.close()
    return met


async def compare_in_batches(server: Server, seed: int, count: int) -> int:
    """Walk once with AsyncRedisStore, everything of one instant at once; returns the largest batch."""
    twin = Twin()
    clock = ManualClock(START)
    store = AsyncRedisStore(server.url, prefix=secrets.token_hex(6), clock=clock, remember=0, budget=5)
    walk = list(steps(Random(seed), count, twin, back=seed % 2 == 0))
    largest = 0

    def turn(pair: tuple[Step, object]) -> tuple[int, str]:
        return pair[0].now, pair[0].what

    for (now, what), group in groupby(walk, key=turn):
        clock.now_us = now
        pairs = list(group)
        if what == "decide":
            largest = max(largest, len(pairs))
            outcomes = await asyncio.gather(*(store.decide(step.plan) for step, _ in pairs))
            for outcome, (step, expected) in zip(outcomes, pairs, strict=True):
                assert expected is not None
                assert fields(outcome) == fields(expected), f"seed {seed}: {step}"
        for step, _ in pairs:
            if what == "refund":
                await store.refund(step.plan, step.at)
            elif what == "reset":
                await store.reset(keys_of(step.plan))
    for step, _ in walk:
        assert await store.state(keys_of(step.plan)) == held(twin, step.plan)
    await store.aclose()
    return largest


def test_script_and_engine_agree_in_every_field(any_server: Server) -> None:
    total: dict[str, int] = {}
    for seed in range(50):
        for name, count in compare(any_server, seed, 400).items():
            total[name] = total.get(name, 0) + count
    assert min(total.values()) > 50, f"the walks missed something: {total}"


def test_decisions_that_travel_together_are_decided_one_after_the_other(any_server: Server) -> None:
    largest = [asyncio.run(compare_in_batches(any_server, seed, 400)) for seed in range(5000, 5040)]
    assert max(largest) >= 5, f"the walks missed something: {largest}"


@pytest.mark.soak
def test_script_and_engine_agree_for_hundreds_of_thousands_of_steps(any_server: Server) -> None:
    for seed in range(10_000, 10_400):
        compare(any_server, seed, 600)
        asyncio.run(compare_in_batches(any_server, seed, 600))
