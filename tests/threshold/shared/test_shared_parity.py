"""Random plans at random instants: the shared store and the one in memory say the same, field by field."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from threshold import Ladder, MemoryStore, Rung, SlidingWindow, TokenBucket
from threshold.plan import Limit, Plan, Rule, State, binding
from threshold.stores.shared import SharedMemoryStore
from threshold.testing import ManualClock

_LADDER = Ladder(
    [Rung(forgive=True), Rung(cooldown=20), Rung(cooldown=40, shadow=99), Rung(ban=70)], decay=300
)
_LIMITS: tuple[Limit, ...] = (
    TokenBucket("7/second", burst=20),
    TokenBucket("999983/minute", burst=50),
    TokenBucket("999999937/hour", burst=900_000_000),
    TokenBucket("1/year"),
    SlidingWindow("5 per 10 seconds"),
    SlidingWindow("200/minute"),
    SlidingWindow("500 per 20 seconds", precision=360),
    SlidingWindow("50 per 3 ms", precision=360),
    SlidingWindow("40 per 100 ms", precision=50),
    SlidingWindow("0/day"),
)
_STEPS = (0, 1, 2, 7, 9, 100, 2_000, 30_000, 60_000, 1_000_000, 1_100_000, 20_000_000)


def _live(store: MemoryStore | SharedMemoryStore, rules: list[Rule], now: int) -> list[State]:
    """The states that still matter: what is at rest may be forgotten, or not yet."""
    keys = [(rule, rule.scope + who) for rule in rules for who in "af"]
    states = store.state([key for _, key in keys])
    return [
        state if state is not None and rule.limit.rests_at(state) > now else None
        for (rule, _), state in zip(keys, states, strict=True)
    ]


@pytest.mark.parametrize("start", [0, 10**12, 17 * 10**14])
@pytest.mark.parametrize("seed", range(3))
def test_says_what_the_store_in_memory_says_over_random_plans(name: str, start: int, seed: int) -> None:
    rng = Random(f"{start} {seed}")
    clock = ManualClock(start)
    memory = MemoryStore(clock=clock)
    shared = [SharedMemoryStore(name, 3_000, clock=clock) for _ in range(2)]
    rules = [Rule.of(f"r{i}", "user", limit, strikes=i % 2 == 0) for i, limit in enumerate(_LIMITS)]
    takes = [[store.bind(rule) for rule in rules] for store in (memory, *shared)]
    charged: list[tuple[Plan, int]] = []
    ordinary = 0
    for _ in range(2_500):
        clock.advance_us(rng.choice(_STEPS) * rng.choice((0, 0, 1)))
        store = rng.choice(shared)
        who = rng.choice("abcdef")
        cost = rng.choice((0, 1, 1, 1, 2, 3, 40, 10**7))
        dice = rng.random()
        if dice < 0.5:
            i = rng.randrange(len(rules))
            expected = takes[0][i](who, cost)
            assert takes[1 + shared.index(store)][i](who, cost)[:3] == expected[:3]
        elif dice < 0.9:
            chosen = tuple(rng.sample(rules, rng.randint(1, 5)))
            keys = tuple(rule.scope + who for rule in chosen)
            ladder = rng.choice((None, _LADDER))
            abuse = None if ladder is None else f"abuse\0{who}"
            plan = Plan.of(chosen, keys, cost, abuse, ladder, who, rng.random() < 0.2)
            if dice >= 0.7 and not plan.peek:
                before = _live(store, rules, clock())
                admitted = store.admit((chosen, plan.names, cost, plan.abuse_scope, ladder, who))
                if admitted is not None:
                    ordinary += 1
                    twin = memory.decide(plan)
                    assert (twin.allowed, twin.strike, twin.shadowed) == (True, 0, False)
                    i = binding(chosen, twin.found)
                    assert admitted == (i, twin.found[i][1], twin.found[i][2])
                    charged.append((plan, twin.at))
                    assert _live(store, rules, clock()) == _live(memory, rules, clock())
                    continue
                assert _live(store, rules, clock()) == before, "of what is not ordinary nothing is charged"
            outcome, twin = store.decide(plan), memory.decide(plan)
            if outcome.allowed and not plan.peek:
                charged.append((plan, outcome.at))
            for each in (outcome, twin):
                each.found = [answer[:3] for answer in each.found]  # type: ignore[misc]
            assert outcome == twin
        elif dice < 0.95 and charged:
            plan, at = charged.pop(rng.randrange(len(charged)))
            memory.refund(plan, at)
            store.refund(plan, at)
        elif dice < 0.97:
            keys = (*(rule.scope + who for rule in rng.sample(rules, 3)), f"abuse\0{who}")
            memory.reset(keys)
            store.reset(keys)
        assert _live(store, rules, clock()) == _live(memory, rules, clock())
    assert ordinary > 50
    assert shared[0].damaged == shared[0].recovered == shared[0].overflowed == 0
    for store in shared:
        store.close()


@pytest.mark.parametrize("limit", _LIMITS[:-1], ids=repr)
def test_requests_that_a_caller_repeats_are_ordinary_ones(name: str, limit: Limit) -> None:
    """One limit, and three at once, so often that every sub-window and every quick shape is met."""
    clock = ManualClock(10**12)
    memory, shared = MemoryStore(clock=clock), SharedMemoryStore(name, 1_000, clock=clock)
    rules = tuple(Rule.of(f"r{i}", "user", limit) for i in range(3))
    quick = 0
    for i in range(400):
        clock.advance_us(limit.window_us // limit.limit if i % 3 else 0)
        chosen = rules if i % 2 else rules[:1]
        plan = Plan.of(
            chosen, tuple(rule.scope + "ann" for rule in chosen), abuse="abuse\0ann", ladder=_LADDER
        )
        twin = memory.decide(plan)
        admitted = shared.admit((chosen, plan.names, 1, plan.abuse_scope, _LADDER, ""))
        if twin.allowed and i > 1:
            assert admitted is not None
            quick += 1
        if admitted is None:
            answers = [answer[:3] for answer in shared.decide(plan).found]
            assert answers == [answer[:3] for answer in twin.found]
        else:
            i = binding(chosen, twin.found)
            assert admitted == (i, twin.found[i][1], twin.found[i][2])
        assert _live(shared, list(rules), clock()) == _live(memory, list(rules), clock())
        memory.reset(["abuse\0ann"])
        shared.reset(["abuse\0ann"])
    assert quick >= 10 or limit.rate.period_us > 10**13
    shared.close()


def test_whoever_has_struck_is_not_ordinary_until_it_is_forgotten(name: str) -> None:
    clock = ManualClock(10**12)
    store = SharedMemoryStore(name, 100, clock=clock)
    rule = Rule.of("r", "user", TokenBucket("1/minute"), strikes=True)
    plan = Plan.of((rule,), (f"{rule.scope}ann",), abuse="abuse\0ann", ladder=_LADDER)
    asked = plan.rules, plan.names, 0, plan.abuse_scope, plan.ladder, ""
    assert store.admit(asked) is None, "the first request of a caller"
    assert [store.decide(plan).strike for _ in range(2)] == [0, 1]
    assert store.admit(asked) is None
    store.reset(["abuse\0ann"])
    assert store.admit(asked) == (0, *store.decide(replace(plan, cost=0)).found[0][1:3])
    store.close()


@pytest.mark.parametrize("way", ["bound", "planned"])
def test_a_ring_that_grew_long_shrinks_to_what_still_counts(name: str, way: str) -> None:
    clock = ManualClock(10**12)
    window = Rule.of("w", "user", SlidingWindow("1000/minute", precision=100))
    asked = Plan.of((window,), (f"{window.scope}ann",))
    memory = MemoryStore(clock=clock)
    shared = SharedMemoryStore(name, 100, clock=clock)
    takes = [store.bind(window) for store in (memory, shared)]
    for sub_windows in (1, 12, 13, 14, 28, 29, 60, 100):
        for left in (0, 1, 2, 12, 13, 14, 30, 99):
            for _ in range(sub_windows):
                clock.advance_us(600_000)
                shared.decide(asked)
                memory.decide(asked)
            clock.advance_us(600_000 * (100 - left))
            if way == "planned":
                said = [store.decide(asked).found[0] for store in (memory, shared)]
            else:
                said = [take("ann", 1) for take in takes]
            assert said[1][:3] == said[0][:3], (sub_windows, left)
    shared.close()
