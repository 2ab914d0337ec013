"""Words of the file change that nobody should have changed: what is read then is never milder than before."""

from __future__ import annotations

from random import Random

import pytest

from threshold import Ladder, Rung, SlidingWindow, TokenBucket
from threshold.plan import Limit, Plan, Rule
from threshold.stores.shared import SharedMemoryStore
from threshold.stores.shared.cells import META, PAYLOAD
from threshold.stores.shared.layout import CELL, COMMIT
from threshold.testing import ManualClock

_LADDER = Ladder([Rung(cooldown=30), Rung(ban=500)], decay=1000)


@pytest.mark.parametrize(
    "limit",
    [
        TokenBucket("60/minute", burst=40),
        TokenBucket("999983/minute", burst=50),
        SlidingWindow("50/minute"),
        SlidingWindow("50 per 3 ms", precision=360),
    ],
    ids=repr,
)
def test_a_damaged_limit_never_admits_more_and_is_whole_again_in_time(name: str, limit: Limit) -> None:
    rng = Random(4)
    rule = Rule.of("r", "user", limit)
    clock = ManualClock(10**12)
    store = SharedMemoryStore(name, 100, clock=clock)
    take = store.bind(rule)
    for i in range(200):
        key = str(i)
        for _ in range(rng.randint(1, 5)):
            clock.advance_us(rng.choice((0, 9, 1_000_000)))
            take(key, rng.randint(1, 3))
        left = take(key, 0)[1]
        place = store._table.places.of(rule.scope + key)
        words = store._words
        used = len(place.payload)
        word = place.cell + rng.choice([META + 1, *range(PAYLOAD, PAYLOAD + min(12, used))])
        words[word] ^= 1 << rng.randrange(63)
        damaged = store.damaged
        assert take(key, 0)[1] <= left, (i, word - place.cell)
        assert store.damaged <= damaged + 1
        retry = take(key, limit.capacity)[0]
        assert 0 <= retry <= limit.window_us * 2, "the penalty for damage ends"
        clock.advance_us(retry)
        assert take(key, limit.capacity)[0] == 0
        store.reset([rule.scope + key])
    assert store.damaged > 100
    store.close()


@pytest.mark.parametrize("word", range(META + 1, PAYLOAD + 7))
def test_a_ban_survives_damage_to_any_word_of_its_record(name: str, word: int) -> None:
    rule = Rule.of("r", "user", SlidingWindow("1/second"), strikes=True)
    for bit in range(0, 63, 5):
        clock = ManualClock(10**12)
        store = SharedMemoryStore(name, 100, clock=clock)
        plan = Plan.of((rule,), (rule.scope + "ann",), 1, "abuse\0ann", _LADDER, "ann")
        assert [store.decide(plan).allowed for _ in range(2)] == [True, False]
        clock.advance(31)
        assert store.decide(plan).allowed
        banned = store.decide(plan)
        assert banned.banned and banned.blocked_us == 500_000_000
        place = store._table.places.of("abuse\0ann")
        store._words[place.cell + word] ^= 1 << bit
        clock.advance(499)
        store.reset([plan.keys[0]])
        still = store.decide(plan)
        assert not still.allowed and still.banned and still.blocked_us >= 1_000_000
        clock.advance(501)
        assert store.decide(plan).allowed, "a ban ends, also a damaged one"
        store.close()
        SharedMemoryStore.remove(name)


def test_a_journal_that_does_not_add_up_is_dropped_and_counted(name: str) -> None:
    store = SharedMemoryStore(name, 100)
    rule = Rule.of("r", "user", SlidingWindow("5/hour"))
    take = store.bind(rule)
    take("ann", 2)
    before = bytes(store._file.memory)
    for mark in (1 << 32 | 5, -1, 10**9 << 32 | 77, 7):
        store._words[COMMIT] = mark
        assert take("ann", 0)[1] == 3
        assert store._words[COMMIT] == 0
    assert store.damaged == 4
    changed = [
        i for i, (old, new) in enumerate(zip(before, bytes(store._file.memory), strict=True)) if old != new
    ]
    assert all(512 <= i < 4096 for i in changed), "only counters changed"
    store.close()


def test_no_noise_in_the_file_raises_anything(name: str) -> None:
    """Random words all over the cells: decisions stay decisions."""
    rng = Random(11)
    rules = tuple(
        Rule.of(f"r{i}", "user", limit, strikes=True)
        for i, limit in enumerate((TokenBucket("60/minute"), SlidingWindow("50/minute")))
    )
    clock = ManualClock(10**12)
    store = SharedMemoryStore(name, 60, clock=clock)
    geometry = store._file.header.geometry
    for _ in range(3_000):
        clock.advance_us(rng.choice((0, 1_000, 1_000_000)))
        for _ in range(3):
            word = rng.randrange(geometry.table, geometry.chain + 100 * CELL)
            store._words[word] = rng.choice((0, -1, rng.randrange(100), rng.getrandbits(63), 3 << 16 | 700))
        who = str(rng.randrange(100))
        keys = tuple(rule.scope + who for rule in rules)
        plan = Plan.of(rules, keys, rng.randint(0, 3), f"abuse\0{who}", _LADDER, who)
        outcome = store.decide(plan)
        store.refund(plan, outcome.at)
        store.state(keys)
        store.reset(keys[: rng.randint(0, 1)])
    store.close()
