"""Random walks for twins: the same plans at the same instants, for the engine and for every store.

A walk is a list of steps made from one seed. `Twin` is the engine over a dict, the judge of all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from threshold import engine
from threshold.escalation import AbuseState, Ladder, Rung
from threshold.plan import Limit, Outcome, Plan, Rule, State
from threshold.rate import Rate
from threshold.sliding_window import SlidingWindow
from threshold.token_bucket import TokenBucket

START = 1_760_000_000_000_000
LADDERS = (
    None,
    Ladder.default(),
    Ladder([Rung(cooldown=0.5), Rung(shadow=3), Rung(ban=4)], decay=8),
    Ladder([Rung(forgive=True, shadow=2), Rung(shadow=1), Rung(ban=1.5, shadow=7)], decay=2.5),
    Ladder([Rung()], decay=1),
    Ladder([Rung(ban=20)], decay=10**7),
    Ladder([Rung(forgive=True), Rung(ban=0.01)], decay=10**7),
)


class Step(NamedTuple):
    """One thing to do at one instant."""

    now: int
    what: str
    plan: Plan
    at: int = 0


def limits(rng: Random) -> Limit:
    """Any limit that a Redis store can hold, the awkward ones among them."""
    if rng.random() < 0.5:
        count = rng.choice([0, 1, 2, 3, 5, 7, 60, 100, 997, 10**6])
        period = rng.choice([0.001, 0.007, 1, 1.000003, 10, 60, 86_400])
        return SlidingWindow(Rate(count, per=period), rng.choice([None, 2, 3, 7, 60, 360]))
    while True:
        count = rng.choice([0, 1, 2, 3, 7, 60, 97, 100, 999_983, 10**6, 10**9])
        period = rng.choice([0.001, 0.003, 1, 0.999999, 10, 60, 86_400, 31_536_000])
        burst = rng.choice([None, None, 1, 2, 5, 1000]) if count else None
        limit = TokenBucket(Rate(count, per=period), burst)
        if 2 * limit.full + limit.drain < 2**53:
            return limit


def rules(rng: Random) -> tuple[Rule, ...]:
    return tuple(
        Rule.of(
            f"r{i}",
            rng.choice(["edge", "tenant", "user", "endpoint"]),
            limits(rng),
            strikes=rng.random() < 0.5,
            prefix=rng.choice(["", "", "dry:"]),
        )
        for i in range(rng.choice([1, 1, 2, 3, 4, 4, 6]))
    )


@dataclass
class Twin:
    """The engine over a dict: what every store must say and hold."""

    states: dict[str, State] = field(default_factory=dict)
    records: dict[str, AbuseState] = field(default_factory=dict)

    def decide(self, plan: Plan, now: int) -> Outcome:
        states = [self.states.get(key) for key in plan.keys]
        record = None if plan.abuse is None else self.records.get(plan.abuse)
        outcome, struck = engine.decide(plan, states, record, now)
        if not plan.peek:
            for key, state, answer in zip(plan.keys, states, outcome.found, strict=False):
                if answer[3] is not state:
                    self.states[key] = answer[3]
            if struck is not None and plan.abuse is not None and plan.ladder is not None:
                self.records[plan.abuse] = struck
        return outcome

    def refund(self, plan: Plan, at: int, now: int) -> None:
        for rule, key in zip(plan.rules, plan.keys, strict=True):
            if self.states.get(key) is not None:
                self.states[key] = rule.limit.refund(self.states[key], now, plan.cost, at)

    def reset(self, keys: tuple[str, ...]) -> None:
        for key in keys:
            self.states.pop(key, None)
            self.records.pop(key, None)


def steps(rng: Random, count: int, twin: Twin, *, back: bool) -> Iterator[tuple[Step, Outcome | None]]:
    """Steps and what the engine says to each, with the twin kept up to date.

    `back`: the clock may step back.
    """
    # A record belongs to one ladder: a store may forget it when that ladder would.
    families = [(rules(rng), rng.choice(LADDERS), f"abuse{i}\0") for i in range(3)]
    now, last, charged = START, 1, []
    for _ in range(count):
        chosen, ladder, scope = rng.choice(families)
        who = rng.choice(["ann", "bob"])
        now += _elapsed(rng, last, back)
        most = max(rule.limit.capacity for rule in chosen)
        cost = rng.choice([1, 1, 1, 1, 2, 0, most, most // 2, most + 1, 10**20])
        abuse = scope + who if rng.random() < 0.8 else None
        if abuse is None and not back:
            ladder = None  # the two come together, as policies make them; the other walks mix them freely
        keys = tuple(rule.scope + who for rule in chosen)
        plan = Plan.of(chosen, keys, cost, abuse, ladder, who, rng.random() < 0.1)
        roll = rng.random()
        if roll < 0.04 and charged:
            plan, at = rng.choice(charged)
            twin.refund(plan, at, now)
            yield Step(now, "refund", plan, at), None
        elif roll < 0.05:
            twin.reset(keys_of(plan))
            yield Step(now, "reset", plan), None
        else:
            outcome = twin.decide(plan, now)
            waits = [answer[0] for answer in outcome.found if answer[0] > 0]
            last = max(*waits, 1) if waits else outcome.blocked_us or rng.choice([1, 1000, 10**6])
            if outcome.allowed and not outcome.strike and not plan.peek:
                charged = [*charged[-20:], (plan, now)]
            yield Step(now, "decide", plan), outcome


def _elapsed(rng: Random, last: int, back: bool) -> int:
    """Microseconds to the next step: standing still, just before and exactly at an edge, back by hours."""
    roll = rng.random()
    if roll < 0.45:
        return rng.choice([0, 0, 1, 13, 997])
    if roll < 0.75:
        return rng.choice([last, last - 1, 1, last // 2])
    if roll < 0.93:
        return rng.randrange(10 ** rng.randrange(1, 8))
    if roll < 0.96 or not back:
        return rng.randrange(10**12)
    return -rng.randrange(10 ** rng.randrange(1, 11))


def keys_of(plan: Plan) -> tuple[str, ...]:
    """All keys of a plan, its record's last."""
    return plan.keys if plan.abuse is None else (*plan.keys, plan.abuse)


def fields(outcome: Outcome) -> tuple[object, ...]:
    """Every field of an outcome, without the states."""
    return (
        outcome.allowed,
        tuple(answer[:3] for answer in outcome.found),
        outcome.at,
        outcome.strike,
        outcome.blocked_us,
        outcome.banned,
        outcome.shadowed,
        outcome.overflowed,
    )


def shown(rule: Rule, state: State) -> State:
    """A state of the engine's as `store.state` shows it."""
    return (
        divmod(state, rule.limit.drain)
        if isinstance(rule.limit, TokenBucket) and state is not None
        else state
    )
