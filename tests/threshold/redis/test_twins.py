"""decide.lua and engine.py are twins: the same random plans at the same instants, every field compared."""

from __future__ import annotations

import secrets
from random import Random

import pytest

from threshold import MemoryStore
from threshold.stores.redis import RedisStore
from threshold.testing import ManualClock

from .servers import Server
from .walks import START, Twin, fields, shown, steps


def compare(server: Server, seed: int, count: int) -> dict[str, int]:
    """Walk once; returns what was met on the way."""
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
                store.reset((*plan.keys, f"abuse\0{plan.group}"))
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
            wanted = [
                shown(rule, twin.states.get(key)) for rule, key in zip(plan.rules, plan.keys, strict=True)
            ]
            wanted.append(twin.records.get(f"abuse\0{plan.group}"))
            assert remote.state((*plan.keys, f"abuse\0{plan.group}")) == wanted, where
    remote.close()
    return met


def test_script_and_engine_agree_in_every_field(any_server: Server) -> None:
    total: dict[str, int] = {}
    for seed in range(50):
        for name, count in compare(any_server, seed, 400).items():
            total[name] = total.get(name, 0) + count
    assert min(total.values()) > 50, f"the walks missed something: {total}"


@pytest.mark.soak
def test_script_and_engine_agree_for_hundreds_of_thousands_of_steps(any_server: Server) -> None:
    for seed in range(1000, 1500):
        compare(any_server, seed, 600)
