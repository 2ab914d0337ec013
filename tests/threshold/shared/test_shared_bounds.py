"""Bounded for good: what fits, what happens when nothing more does, and how places come free again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from integrity import problems

from threshold import Ladder, Limiter, Rung, SlidingWindow, TokenBucket
from threshold.plan import Plan, Rule
from threshold.stores.shared import SharedMemoryStore
from threshold.stores.shared import rooms as shared_rooms
from threshold.stores.shared.layout import FRESH
from threshold.testing import ManualClock, worst_window

_WINDOW = SlidingWindow("3/minute")
_SECOND = 1_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(10**12)


@pytest.fixture
def small(name: str, clock: ManualClock) -> Iterator[SharedMemoryStore]:
    store = SharedMemoryStore(name, 200, clock=clock)
    yield store
    assert problems(store) == []
    store.close()


@pytest.mark.parametrize("max_keys", [1, 2, 63, 64, 65, 1_000, 20_000])
def test_as_many_keys_fit_as_were_asked_for_and_no_more(name: str, max_keys: int, clock: ManualClock) -> None:
    store = SharedMemoryStore(name, max_keys, clock=clock)
    limiter = Limiter(_WINDOW, store)
    for i in range(max_keys):
        assert limiter.acquire(f"k{i}", 2).remaining == 1
    assert store.overflowed == 0
    for i in range(50):
        limiter.acquire(f"n{i}")
    assert len(store) <= max_keys and store.overflowed >= 50
    size = Path(store.path).stat().st_size
    assert size <= 650_000 + max_keys * 230
    assert problems(store) == []
    store.close()


def test_a_full_table_keeps_everybody_it_knows_and_lets_newcomers_share(
    small: SharedMemoryStore, clock: ManualClock
) -> None:
    limiter = Limiter(_WINDOW, small)
    for i in range(200):
        assert limiter.acquire(f"k{i}", 3).allowed
    newcomers = [limiter.acquire(f"n{i}").allowed for i in range(1_100)]
    assert newcomers == [True] * 3 + [False] * 1_097, "all newcomers together have one limit"
    assert small.overflowed == 1_100
    assert not any(limiter.acquire(f"k{i}").allowed for i in range(200)), "junk resets nobody"
    assert limiter.peek("n5").remaining == 0


def test_each_rule_has_an_overflow_state_of_its_own(small: SharedMemoryStore) -> None:
    first, second = (Limiter(_WINDOW, small, name=name) for name in ("one", "two"))
    for i in range(200):
        first.acquire(f"k{i}")
    assert [first.acquire(f"n{i}").allowed for i in range(4)] == [True, True, True, False]
    assert [second.acquire(f"n{i}").allowed for i in range(4)] == [True, True, True, False]


def test_overflow_is_reported_at_the_first_and_at_each_doubling(name: str, clock: ManualClock) -> None:
    reported: list[int] = []
    store = SharedMemoryStore(name, 10, clock=clock, on_overflow=reported.append)
    limiter = Limiter(_WINDOW, store)
    for i in range(10 + 20):
        limiter.acquire(f"k{i}")
    assert reported == [1, 2, 4, 8, 16]
    store.close()


def test_a_full_table_takes_newcomers_again_when_somebody_rests(
    small: SharedMemoryStore, clock: ManualClock
) -> None:
    limiter = Limiter(_WINDOW, small)
    for i in range(200):
        limiter.acquire(f"k{i}")
    assert limiter.acquire("late").remaining == 2
    assert small.overflowed == 1
    clock.advance(62)
    for i in range(150):
        assert limiter.acquire(f"n{i}", 3).allowed, i
    assert small.overflowed == 1 and len(small) <= 200


def test_state_at_rest_is_reclaimed_while_new_keys_arrive(name: str, clock: ManualClock) -> None:
    """A hundred times as many keys as fit, ten seconds apart: never more at once than are awake."""
    store = SharedMemoryStore(name, 1_000, clock=clock)
    limiter = Limiter(SlidingWindow("5 per 2 seconds"), store)
    for i in range(100_000 // 5):
        clock.advance_us(5_000)
        assert limiter.acquire(f"k{i}", 5).allowed
    assert store.overflowed == 0
    store.close()


def test_a_new_key_looks_at_a_few_cells_whatever_the_size_of_the_table(
    name: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    look = shared_rooms.Rooms.at_rest

    def counted(table: shared_rooms.Rooms, cell: int, now: int) -> bool:
        nonlocal looks
        looks += 1
        return look(table, cell, now)

    monkeypatch.setattr(shared_rooms.Rooms, "at_rest", counted)
    store = SharedMemoryStore(name, 5_000, clock=clock)
    limiter = Limiter(_WINDOW, store)
    most = 0
    for i in range(8_000):
        before = looks
        limiter.acquire(f"k{i}")
        most = max(most, looks - before)
    assert 0 < most <= 6 * 8, "at most six rows"
    store.close()


def test_a_strike_that_finds_no_place_is_a_plain_refusal(small: SharedMemoryStore) -> None:
    rule = Rule.of("r", "user", _WINDOW, strikes=True)
    ladder = Ladder([Rung(forgive=True), Rung(ban=100)], decay=1000)
    for i in range(200):
        small.decide(Plan.of((rule,), (f"{rule.scope}k{i}",), 3))
    for i in range(200):
        who = f"k{i}"
        outcome = small.decide(Plan.of((rule,), (rule.scope + who,), 1, f"abuse\0{who}", ladder, who))
        assert (outcome.allowed, outcome.strike, outcome.blocked_us) == (False, 0, 0)
    assert small.overflowed == 200, "lost strikes are counted"


def test_a_refund_of_a_shared_charge_gives_nothing_back(small: SharedMemoryStore, clock: ManualClock) -> None:
    """The newcomer has found a place of their own since; what they hold there was never refunded."""
    rule = Rule.of("r", "user", SlidingWindow("3 per 100 minutes"))
    brief = Rule.of("b", "user", SlidingWindow("3/second"))
    for i in range(200):
        small.decide(Plan.of((brief,), (f"{brief.scope}{i}",), 1))
    shared = Plan.of((rule,), (f"{rule.scope}ann",), 2)
    outcome = small.decide(shared)
    assert outcome.overflowed == 1
    clock.advance(2)
    assert small.decide(shared).overflowed == 0
    small.refund(shared, outcome.at)
    assert small.decide(replace(shared, cost=0)).found[0][1] == 1
    own = small.decide(replace(shared, cost=1))
    small.refund(replace(shared, cost=1), own.at)
    assert small.decide(replace(shared, cost=0)).found[0][1] == 1


def test_plans_of_several_new_keys_do_not_overfill_the_table_either(small: SharedMemoryStore) -> None:
    rules = tuple(Rule.of(f"r{i}", "user", _WINDOW, strikes=True) for i in range(3))
    ladder = Ladder([Rung(ban=100)], decay=1000)
    for i in range(90):
        who = f"k{i}"
        keys = tuple(rule.scope + who for rule in rules)
        small.decide(Plan.of(rules, keys, 3, f"abuse\0{who}", ladder, who))
        small.decide(Plan.of(rules, keys, 1, f"abuse\0{who}", ladder, who))
    assert 195 <= len(small) <= 200 and small.overflowed > 0


def test_a_peek_takes_no_place(small: SharedMemoryStore) -> None:
    limiter = Limiter(_WINDOW, small)
    for i in range(500):
        assert limiter.peek(f"k{i}").remaining == 3
    assert len(small) == 0 and small.overflowed == 0


def test_reset_gives_the_place_back_at_once(small: SharedMemoryStore) -> None:
    limiter = Limiter(_WINDOW, small)
    for round_ in range(5):
        for i in range(200):
            assert limiter.acquire(f"{round_}-{i}", 3).allowed
        for i in range(200):
            limiter.reset(f"{round_}-{i}")
        assert len(small) == 0


def test_long_rings_give_their_extents_back(small: SharedMemoryStore, clock: ManualClock) -> None:
    limiter = Limiter(SlidingWindow("1000 per 36 seconds", precision=360), small)
    for round_ in range(6):
        for _ in range(360):
            clock.advance_us(100_000)
            for who in "ab":
                assert limiter.acquire(f"{who}{round_}").allowed
        if round_ % 2:
            limiter.reset(f"a{round_}")
        assert problems(small) == []
    made = small._words[FRESH]
    for round_ in range(6):
        limiter.reset(f"a{round_}")
        limiter.reset(f"b{round_}")
    for _ in range(360):
        clock.advance_us(100_000)
        for who in "xyz":
            limiter.acquire(who)
    assert small._words[FRESH] == made, "what came back is used again"


def test_without_extents_rings_get_coarser_and_keep_the_promise(name: str, clock: ManualClock) -> None:
    store = SharedMemoryStore(name, 60, clock=clock)
    limit = SlidingWindow("700 per 36 seconds", precision=360)
    limiter = Limiter(limit, store)
    rng = Random(3)
    admitted: dict[int, list[tuple[int, int]]] = {who: [] for who in range(40)}
    for _ in range(600):
        clock.advance_us(rng.choice((100_000, 200_000)))
        for who, events in admitted.items():
            cost = rng.choice((1, 2, 3))
            if limiter.acquire(str(who), cost).allowed:
                events.append((clock(), cost))
    assert store._words[FRESH] == store._file.header.geometry.extents, "40 rings of 360 do not fit"
    for events in admitted.values():
        assert worst_window(events, limit.window_us) <= 700
        assert sum(cost for _, cost in events) > 700, "and go on admitting"
    assert problems(store) == []
    store.close()


def test_an_overflow_table_that_is_full_itself_refuses(name: str, clock: ManualClock) -> None:
    """Thousands of different limits, all of them full of strangers: the last resort is strict."""
    store = SharedMemoryStore(name, 1, clock=clock)
    Limiter(_WINDOW, store).acquire("first")
    answers = [Limiter(TokenBucket("2/hour"), store, name=f"n{i}").acquire("x").allowed for i in range(300)]
    assert 30 <= answers.count(True) <= 32 and not any(answers[-100:])
    assert len(store) == 1
    store.close()
