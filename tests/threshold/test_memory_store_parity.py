"""MemoryStore against a reference without bounds, step by step: what is live is never forgotten."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_states import LADDER, RULES, shards

from threshold import (
    MemoryStore,
)
from threshold.plan import Lineup, Plan, binding
from threshold.stores import key_table
from threshold.stores.base import bind
from threshold.testing import ManualClock
from threshold.testing.contract_base import abuse_key, plan
from threshold.testing.contract_parity import Reference, fields

SECOND = 1_000_000


steps = st.lists(
    st.tuples(
        st.sampled_from(["decide"] * 6 + ["admit", "admit", "take", "take", "peek", "reset", "refund"]),
        st.integers(0, 11),  # who
        st.integers(1, 15),  # which rules, as bits
        st.sampled_from([0, 1, 1, 1, 2, 3, 4]),  # cost
        st.booleans(),  # with a ladder
        st.sampled_from([0, 0, 0, 1, 90_000, 250_000, SECOND, 3_300_000, 31 * SECOND, 7 * 3600 * SECOND]),
    ),
    max_size=60,
)


class Twin:
    """A bounded store beside the reference, compared after every step."""

    def __init__(self, max_keys: int) -> None:
        self.clock = ManualClock(50)
        self.store = MemoryStore(max_keys, clock=self.clock)
        self.reference = Reference()
        self.max_keys = max_keys

    def live(self) -> set[str]:
        """Keys whose state still matters."""
        now = self.clock()
        limits = {rule.scope: rule.limit for rule in RULES}
        keys = {
            key
            for key, state in self.reference.states.items()
            if state is not None and limits[key[: key.index("\0") + 1]].rests_at(state) > now
        }
        return keys | {key for key, record in self.reference.records.items() if LADDER.rests_at(record) > now}

    def decide(self, asked: Plan) -> None:
        before, counted, live = len(self.store), self.store.overflowed, self.live()
        said = self.store.decide(asked)
        if said.overflowed or self.store.overflowed != counted:
            new = {*asked.keys, *((asked.abuse,) if asked.abuse else ())} - live
            assert new, "who has a state of their own never shares one"
            if self.max_keys <= 16:
                assert len(live) + len(new) > self.max_keys, "overflow although there was a place"
            assert before <= self.max_keys
            self.adopt(asked)
        elif asked.peek and asked.abuse is not None and before == self.max_keys and asked.abuse not in live:
            pass  # a glance that could not be remembered says what a decision would, but is not counted
        else:
            assert fields(said) == fields(self.reference.decide(asked, self.clock()))

    def adopt(self, asked: Plan) -> None:
        """After an overflow: what the store has kept for these keys is what counts from now on."""
        for key, state in zip(asked.keys, self.store.state(asked.keys), strict=True):
            self.reference.states[key] = state
        if asked.abuse is not None:
            record = self.store.state([asked.abuse])[0]
            self.reference.records.pop(asked.abuse, None)
            if record is not None:
                self.reference.records[asked.abuse] = record

    def check(self) -> None:
        assert len(self.store) <= self.max_keys
        assert len(self.store) == sum(map(len, shards(self.store)))
        assert len(self.store) == sum(len(bucket) for bucket in self.store._table._buckets.values())
        for key in self.live():
            kept = self.store.state([key])[0]
            assert kept == self.reference.states.get(key, self.reference.records.get(key)), key


def run(max_keys: int, trace: list[tuple[str, int, int, int, bool, int]]) -> Twin:
    twin = Twin(max_keys)
    takes = [bind(twin.store, rule) for rule in RULES]
    charged: list[tuple[Plan, int]] = []
    plans: dict[tuple[object, ...], Plan] = {}
    for action, who, bits, cost, laddered, pause in trace:
        twin.clock.advance_us(pause)
        name = f"caller{who}"
        rules = [rule for i, rule in enumerate(RULES) if bits >> i & 1]
        asked = plan(rules, name, cost=cost, ladder=LADDER if laddered else None, peek=action == "peek")
        if who % 2:
            asked.rules = Lineup(asked.rules)  # what a store prepares for
        # Asked again, it is the same plan.
        asked = plans.setdefault((name, bits, cost, laddered, action == "peek"), asked)
        if action == "reset":
            keys = [abuse_key(name), *asked.keys]
            twin.store.reset(keys)
            twin.reference.reset(keys)
        elif action == "refund" and charged and not twin.store.overflowed:
            refunded, at = charged.pop()
            twin.store.refund(refunded, at)
            twin.reference.refund(refunded, at, twin.clock())
        elif action == "take":
            single = plan(rules[:1], name, cost=cost)
            counted = twin.store.overflowed
            found = takes[RULES.index(rules[0])](name, cost)
            if twin.store.overflowed == counted:
                meant = twin.reference.decide(single, twin.clock())
                assert found[:3] == meant.found[0][:3]
            else:
                twin.adopt(single)
        elif action == "admit" and not asked.peek:
            admitted = twin.store.admit(
                (asked.rules, asked.names, asked.cost, asked.abuse_scope, asked.ladder, asked.group)
            )
            if admitted is not None:
                meant = twin.reference.decide(asked, twin.clock())
                assert (meant.allowed, meant.strike, meant.shadowed) == (True, 0, False)
                i = binding(asked.rules, meant.found)
                assert admitted == (i, meant.found[i][1], meant.found[i][2])
        else:
            overflowed = twin.store.overflowed
            twin.decide(asked)
            if not asked.peek and twin.store.overflowed == overflowed:
                charged = [(asked, twin.clock())]
        twin.check()
    return twin


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 14), steps)
def test_is_the_reference_with_a_bound(
    max_keys: int, trace: list[tuple[str, int, int, int, bool, int]]
) -> None:
    run(max_keys, trace)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_is_exactly_the_reference_while_there_is_room(
    trace: list[tuple[str, int, int, int, bool, int]],
) -> None:
    assert run(1000, trace).store.overflowed == 0


@pytest.mark.parametrize("per_shard", [1, 1024])
@pytest.mark.parametrize("max_keys", [1, 2, 3, 5, 8, 10, 13, 30])
def test_is_the_reference_with_a_bound_on_long_traces(
    max_keys: int, per_shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1: every table spreads at once
    monkeypatch.setattr(key_table, "_KEYS_PER_SHARD", per_shard)
    rng = Random(max_keys)
    trace = [
        (
            rng.choice(["decide"] * 5 + ["admit", "admit", "take", "take", "peek", "reset"]),
            rng.randrange(12),
            rng.randint(1, 15),
            rng.choice((0, 1, 1, 1, 2, 3, 4)),
            rng.random() < 0.4,
            rng.choice((0, 0, 0, 1, 90_000, 250_000, SECOND, 3_300_000, 31 * SECOND)),
        )
        for _ in range(1500)
    ]
    run(max_keys, trace)
