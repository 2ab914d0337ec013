"""The contract, part four: every store says, field by field, what `engine.decide` says."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .. import engine
from ..escalation import AbuseState
from ..plan import Limit, Outcome, Plan, Rule, State
from ..sliding_window import SlidingWindow
from ..token_bucket import TokenBucket
from .contract_base import LADDER, Bench, abuse_key, plan

_QUICK: tuple[Limit, ...] = (
    TokenBucket("7 per 3 seconds", burst=4),
    TokenBucket("1000/second"),
    TokenBucket("1/minute"),
    TokenBucket("0/minute"),
    TokenBucket("999983/second", burst=3),
    SlidingWindow("3 per 10 seconds"),
    SlidingWindow("20/second", precision=7),
    SlidingWindow("2 per 7 ms", precision=360),
    SlidingWindow("100/minute"),
    SlidingWindow("5/year", precision=2),
)
_SLOW: tuple[Limit, ...] = (
    TokenBucket("5/hour"),
    TokenBucket("4/hour", burst=7),
    SlidingWindow("3/hour"),
    SlidingWindow("6/hour", precision=2),
    SlidingWindow("10/day"),
)
_PAUSES = (0, 0, 0, 1, 999, 50_000, 142_857, 1_000_000, 3_000_000, 11_000_000, 61_000_000)
_COSTS = (1, 1, 1, 1, 1, 2, 3, 0, 5, 100)


class Reference:
    """States in a plain dict, and `engine.decide`: what a store must be indistinguishable from."""

    def __init__(self) -> None:
        self.states: dict[str, State] = {}
        self.records: dict[str, AbuseState] = {}

    def decide(self, plan: Plan, now: int) -> Outcome:
        states = [self.states.get(key) for key in plan.keys]
        record = None if plan.abuse is None else self.records.get(plan.abuse)
        outcome, struck = engine.decide(plan, states, record, now)
        if not plan.peek:
            for key, answer in zip(plan.keys, outcome.found, strict=False):
                self.states[key] = answer[3]
            if struck is not None and plan.abuse is not None:
                self.records[plan.abuse] = struck
        return outcome

    def refund(self, plan: Plan, at: int, now: int) -> None:
        for rule, key in zip(plan.rules, plan.keys, strict=True):
            state = self.states.get(key)
            if state is not None:
                self.states[key] = rule.limit.refund(state, now, plan.cost, at)

    def reset(self, keys: Sequence[str], group: str | None = None) -> None:
        for key in keys:
            self.states.pop(key, None)
            self.records.pop(key, None)


class ParityContract(Bench):
    """A store is the engine with a memory: the same plans at the same instants have the same outcomes."""

    def test_agrees_with_the_engine_in_every_field(self) -> None:
        for seed in range(3):
            self.compare(Random(seed), _QUICK, 800, lambda rng, _: rng.choice(_PAUSES))

    def test_agrees_with_the_engine_while_the_clock_steps_back_and_forth(self) -> None:
        """Within a band of ten minutes, in which none of these limits forgets anything."""
        band = 600_000_000

        def leap(rng: Random, elapsed: int) -> int:
            return rng.randrange(band) - elapsed if rng.random() < 0.3 else 0

        for seed in range(3):
            self.compare(Random(100 + seed), _SLOW, 400, leap)

    def compare(self, rng: Random, limits: Sequence[Limit], steps: int, leap: object) -> None:
        """Drive the store and the reference with the same random plans."""
        assert callable(leap)
        reference = Reference()
        seed = rng.randrange(10**9)
        rules = [
            Rule.of(f"p{seed}-{i}", "user", limit, strikes=i % 2 == 0)
            for i, limit in enumerate(limits)
            if self.holds(limit)
        ]
        begin = self.clock()
        charged: list[tuple[Plan, int]] = []
        for step in range(steps):
            self.clock.advance_us(leap(rng, self.clock() - begin))
            now = self.clock()
            who = f"{seed}-{rng.choice(('ann', 'bob', 'cid'))}"
            if charged and rng.random() < 0.05:
                refunded, at = charged.pop(rng.randrange(len(charged)))
                self.store.refund(refunded, at)
                reference.refund(refunded, at, now)
            elif rng.random() < 0.01:
                keys = [abuse_key(who), *(rule.scope + who for rule in rules)]
                self.store.reset(keys)
                reference.reset(keys)
                charged = [one for one in charged if one[0].group != who]
            else:
                asked = plan(
                    rng.sample(rules, rng.randint(1, 4)),
                    who,
                    cost=rng.choice(_COSTS),
                    ladder=LADDER if rng.random() < 0.5 else None,
                    peek=rng.random() < 0.1,
                )
                said, meant = self.store.decide(asked), reference.decide(asked, now)
                assert fields(said) == fields(meant), (seed, step, asked, said, meant)
                if said.allowed and not said.strike and not asked.peek:
                    charged.append((asked, said.at))


def fields(outcome: Outcome) -> tuple[object, ...]:
    """Every field of an outcome but the states, which a store may keep to itself."""
    return (
        outcome.allowed,
        [tuple(answer[:3]) for answer in outcome.found],
        outcome.at,
        outcome.strike,
        outcome.blocked_us,
        outcome.banned,
        outcome.shadowed,
        outcome.overflowed,
    )
