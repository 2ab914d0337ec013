"""MemoryStore when it is full, and how it gives out places and takes them back, each at a bounded cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_states import LADDER, RULES, shards

from threshold import (
    ConfigurationError,
    Ladder,
    Limiter,
    MemoryStore,
    Rung,
    SlidingWindow,
    TokenBucket,
)
from threshold.plan import Rule
from threshold.stores.base import bind
from threshold.stores.key_table import KeyTable
from threshold.testing import ManualClock, worst_window
from threshold.testing.contract_base import abuse_key, plan

SECOND = 1_000_000


def fill(store: MemoryStore, rule: Rule, count: int, name: str = "junk") -> None:
    take = bind(store, rule)
    for i in range(count):
        take(f"{name}{i}", 1)


def test_a_key_at_rest_makes_place_for_a_newcomer_at_once() -> None:
    clock = ManualClock()
    store = MemoryStore(10, clock=clock)
    hourly = Rule.of("hourly", "user", SlidingWindow("1/hour"))
    quick = Rule.of("quick", "user", TokenBucket("1/second"))
    fill(store, hourly, 9)
    bind(store, quick)(quick.scope + "ann", 1)
    clock.advance_us(999_999)
    assert store.decide(plan([quick], "bob")).overflowed == 1
    clock.advance_us(1)
    outcome = store.decide(plan([quick], "bob"))
    assert outcome.overflowed == 0 and outcome.allowed and len(store) == 10


def test_a_key_at_rest_is_found_behind_one_that_rests_later_but_was_due_earlier() -> None:
    clock = ManualClock()
    store = MemoryStore(2, clock=clock)
    hourly = Rule.of("hourly", "user", TokenBucket("1/hour"))
    quick = Rule.of("quick", "user", TokenBucket("1/second"))
    bind(store, hourly)(hourly.scope + "ann", 1)  # rests at 3600 s, looked at some seconds later
    clock.advance(3599.5)
    bind(store, quick)(quick.scope + "bob", 1)  # rests at 3600.5 s, looked at almost exactly then
    clock.advance(0.6)
    clock.advance(-0.2)  # now 3599.9: nobody rests
    assert store.decide(plan([quick], "cid")).overflowed == 1
    clock.advance(0.1)  # 3600.0: ann does
    assert store.decide(plan([quick], "cid")).overflowed == 0


@pytest.mark.parametrize("limit", [TokenBucket("5/minute"), SlidingWindow("5/minute")], ids=str)
def test_newcomers_to_a_full_store_share_one_limit(limit: TokenBucket) -> None:
    clock = ManualClock()
    store = MemoryStore(100, clock=clock)
    rule = Rule.of("r", "user", limit)
    fill(store, Rule.of("junk", "edge", SlidingWindow("1/year")), 100)
    take = bind(store, rule)
    admitted = []
    for i in range(3000):
        clock.advance_us(100_000)
        if i % 2:
            outcome = store.decide(plan([rule], f"new{i}"))
            assert outcome.overflowed == 1
            retry = 0 if outcome.allowed else 1
        else:
            retry = take(f"new{i}", 1)[0]
        if retry == 0:
            admitted.append(clock())
    assert len(store) == 100 and store.overflowed == 3000
    most = 5 if isinstance(limit, SlidingWindow) else 10
    assert len(admitted) >= 20 and worst_window(admitted, 60 * SECOND) <= most


def test_known_callers_keep_their_own_state_while_newcomers_share() -> None:
    store = MemoryStore(50, clock=ManualClock())
    rule = Rule.of("r", "user", SlidingWindow("5/year"))
    fill(store, rule, 50)
    for _ in range(20):
        store.decide(plan([rule], "stranger"))
    for i in range(50):
        outcome = store.decide(plan([rule], f"junk{i}"))
        assert outcome.allowed and outcome.found[0][1] == 3 and outcome.overflowed == 0


def test_a_plan_may_find_place_for_some_of_its_keys() -> None:
    clock = ManualClock()
    store = MemoryStore(3, clock=clock)
    fill(store, Rule.of("junk", "edge", SlidingWindow("1/year")), 2)
    outcome = store.decide(plan(RULES, "ann"))
    assert outcome.allowed and outcome.overflowed == 3 and len(store) == 3
    assert sum(state is not None for state in store.state([rule.scope + "ann" for rule in RULES])) == 1


def test_a_full_store_still_blocks_whom_it_has_banned_and_does_not_forgive_whom_it_cannot_remember() -> None:
    clock = ManualClock()
    store = MemoryStore(4, clock=clock)
    rule = Rule.of("r", "user", SlidingWindow("1/hour"), strikes=True)
    ban = Ladder([Rung(ban=3600)], decay=7200)
    for _ in range(2):
        banned = store.decide(plan([rule], "ann", ladder=ban))
    assert banned.banned and len(store) == 2
    fill(store, Rule.of("junk", "edge", SlidingWindow("1/year")), 50)
    assert store.decide(plan([rule], "ann", ladder=ban)).banned
    forgiving = Ladder([Rung(forgive=True)])
    before = store.overflowed
    outcomes = [store.decide(plan([rule], "bob", ladder=forgiving)) for _ in range(5)]
    assert [outcome.allowed for outcome in outcomes] == [True, False, False, False, False]
    assert {outcome.strike for outcome in outcomes} == {0}
    assert store.overflowed == before + 5


def test_a_strike_that_finds_no_place_is_counted_as_overflow() -> None:
    store = MemoryStore(3, clock=ManualClock())
    rule = Rule.of("r", "user", SlidingWindow("1/hour"), strikes=True)
    assert store.decide(plan([rule], "ann", ladder=LADDER)).allowed
    fill(store, Rule.of("junk", "edge", SlidingWindow("1/year")), 2)
    assert store.overflowed == 0
    outcome = store.decide(plan([rule], "ann", ladder=LADDER))
    assert (outcome.allowed, outcome.strike, store.overflowed) == (False, 0, 1)


def test_a_record_that_was_reset_has_its_place_still_even_when_the_store_is_full() -> None:
    clock = ManualClock()
    store = MemoryStore(3, clock=clock)
    rule = Rule.of("r", "user", SlidingWindow("1/hour"), strikes=True)
    hourly = Rule.of("hourly", "user", SlidingWindow("1/year"))
    for _ in range(2):
        store.decide(plan([rule], "ann", ladder=LADDER))
    fill(store, hourly, 1)
    store.reset([abuse_key("ann")])
    assert store.decide(plan([rule], "ann", ladder=LADDER)).strike == 1


def test_tells_of_overflow_at_once_and_then_whenever_it_has_doubled() -> None:
    told: list[int] = []
    store = MemoryStore(1, clock=ManualClock(), on_overflow=told.append)
    fill(store, Rule.of("r", "user", SlidingWindow("1/year")), 101)
    assert store.overflowed == 100 and told == [1, 2, 4, 8, 16, 32, 64]


def test_a_listener_may_use_the_store_and_its_failure_changes_no_verdict() -> None:
    rule = Rule.of("r", "user", SlidingWindow("1/year"))
    seen: list[object] = []

    def listen(count: int) -> None:
        seen.append(store.state([rule.scope + "junk0"]))

    store = MemoryStore(1, clock=ManualClock(), on_overflow=listen)
    fill(store, rule, 3)
    store.decide(plan([rule], "ann"))
    assert len(seen) == 2


def test_a_refund_of_what_an_overflow_state_was_charged_lets_nobody_exceed_their_own_limit() -> None:
    clock = ManualClock()
    store = MemoryStore(1, clock=clock)
    rule = Rule.of("r", "user", SlidingWindow("3/hour"))
    quick = Rule.of("quick", "user", TokenBucket("1/second"))
    assert store.decide(plan([quick], "junk")).allowed
    shared = plan([rule], "ann", cost=2)
    outcome = store.decide(shared)
    assert outcome.allowed and outcome.overflowed == 1
    clock.advance(1)
    assert store.decide(plan([rule], "ann", cost=3)).overflowed == 0
    store.refund(shared, outcome.at)
    assert not store.decide(plan([rule], "ann")).allowed


def test_a_changed_ladder_remembers_as_long_as_it_says() -> None:
    clock = ManualClock()
    store = MemoryStore(3, clock=clock)
    rule = Rule.of("r", "user", TokenBucket("1/second"), strikes=True)
    other = Rule.of("other", "user", TokenBucket("1/second"))
    brief = Ladder([Rung(forgive=True)], decay=5)
    long = replace(brief, decay=500)
    store.decide(plan([rule], "ann", cost=1, ladder=brief))
    assert store.decide(plan([rule], "ann", cost=1, ladder=brief)).strike == 1
    clock.advance(3)
    store.decide(plan([rule], "ann", cost=1, ladder=long))
    assert store.decide(plan([rule], "ann", cost=1, ladder=long)).strike == 2
    clock.advance(60)
    for i in range(40):
        store.decide(plan([other], f"newcomer{i}"))
    store.decide(plan([rule], "ann", cost=1, ladder=long))
    assert store.decide(plan([rule], "ann", cost=1, ladder=long)).strike == 3


def test_keys_at_rest_are_forgotten_as_newcomers_come_so_memory_follows_the_live_ones() -> None:
    clock = ManualClock()
    store = MemoryStore(100_000, clock=clock)
    rule = Rule.of("r", "user", TokenBucket("10/second"))
    take = bind(store, rule)
    most = 0
    for i in range(60_000):
        clock.advance_us(1_000)
        take(str(i), 1)
        most = max(most, len(store))
    # A key rests 100 ms after its only charge: about a hundred are live at any time.
    assert most <= 250


def test_reset_gives_places_back() -> None:
    clock = ManualClock()
    store = MemoryStore(10, clock=clock)
    rule = Rule.of("r", "user", SlidingWindow("1/year"))
    fill(store, rule, 10)
    assert store.decide(plan([rule], "bob")).overflowed == 1
    store.reset([f"{rule.scope}junk3"])
    assert store.decide(plan([rule], "bob")).overflowed == 0


def test_close_forgets_everything() -> None:
    store = MemoryStore(10, clock=ManualClock())
    fill(store, RULES[3], 20)
    store.close()
    assert len(store) == 0 and store.state([f"{RULES[3].scope}junk0"]) == [None]


def test_whether_somebody_is_banned_can_be_asked_without_any_limit() -> None:
    store = MemoryStore(clock=ManualClock())
    ban, asked = Ladder([Rung(ban=60)]), plan([], ladder=LADDER)
    assert store.decide(asked).allowed
    once = Rule.of("once", "user", TokenBucket("1/hour"), strikes=True)
    assert [store.decide(plan([once], ladder=ban)).strike for _ in range(2)] == [0, 1]
    assert store.decide(asked).banned


def test_an_unbanned_caller_is_an_ordinary_one_again() -> None:
    store = MemoryStore(clock=ManualClock())
    twice = Rule.of("twice", "user", TokenBucket("2/hour"), strikes=True)
    asked = plan([twice], ladder=LADDER)
    assert [store.decide(each).strike for each in (asked, replace(asked, cost=2))] == [0, 1]
    parts = asked.rules, asked.names, 1, asked.abuse_scope, asked.ladder, asked.group
    assert store.admit(parts) is None
    store.reset([abuse_key()])
    assert store.admit(parts) is not None


@pytest.mark.parametrize("scope", ["user", "user\0x", "us\0er\0", ""])
def test_refuses_a_scope_that_cannot_be_told_from_the_names_in_it(scope: str) -> None:
    store = MemoryStore()
    with pytest.raises(ValueError, match="scope"):
        bind(store, Rule("user", "user", TokenBucket("9/s"), scope))
    assert len(store) == 0


def test_nothing_is_known_of_a_key_that_nobody_could_have_counted() -> None:
    store = MemoryStore()
    store.reset(["ann", ""])
    assert store.state(["ann", ""]) == [None, None]


def test_callers_keep_their_states_when_the_table_they_are_in_is_spread() -> None:
    store = MemoryStore(10_000, clock=ManualClock())
    rule = Rule.of("r", "user", SlidingWindow("5/year"))
    take, asked = bind(store, rule), plan([rule], "ann")
    assert store.decide(asked).found[0][1] == 4
    for i in range(3_000):
        fill(store, rule, 1, f"other{i}-")
        if i % 1000 == 999:
            assert take("ann", 1)[1] == store.decide(replace(asked, peek=True)).found[0][1]
    assert len(shards(store)) > 1
    assert store.decide(asked).found[0][1] == 0
    assert [take(f"other{i}-0", 0)[1] for i in range(0, 3_000, 100)] == [4] * 30


def test_every_shard_stays_small_enough_to_grow_without_a_pause() -> None:
    store = MemoryStore(200_000, clock=ManualClock())
    fill(store, Rule.of("r", "user", SlidingWindow("1/year")), 210_000)
    assert len(store) == 200_000
    assert max(map(len, shards(store))) <= 2_100


def test_a_decision_looks_at_a_bounded_number_of_keys_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    original = KeyTable._take_out

    def counting(self: KeyTable, *args: object) -> object:
        nonlocal looks
        looks += 1
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(KeyTable, "_take_out", counting)
    clock = ManualClock()
    for max_keys in (1_000, 20_000):
        store = MemoryStore(max_keys, clock=clock)
        rule = Rule.of("r", "user", TokenBucket("10/minute"))
        take = bind(store, rule)
        most = total = 0
        for i in range(3 * max_keys):
            looks = 0
            if i == 2 * max_keys:
                clock.advance(3600)  # everything comes to rest at once
            take(str(i), 1)
            most, total = max(most, looks), total + looks
        assert most <= 40 and total <= 3 * max_keys * 40


def test_refuses_bounds_out_of_range_and_a_clock_that_is_none() -> None:
    for max_keys in (0, -1, 1.5, True, "10", 100_000_001):
        with pytest.raises(ConfigurationError, match="max_keys"):
            MemoryStore(max_keys)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="clock"):
        MemoryStore(clock=5)  # type: ignore[arg-type]


def test_the_default_clock_runs() -> None:
    limiter = Limiter(TokenBucket("1000000/second"), store=MemoryStore())
    first = limiter.acquire("ann", cost=1_000_000)
    second = limiter.acquire("ann", cost=1_000_000)
    assert first.allowed and not second.allowed
    assert second.retry_after_us is not None and 0 < second.retry_after_us < 1_000_000
