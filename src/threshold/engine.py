"""The rules of one decision, as one pure function. Its twin in Lua is stores/redis/decide.lua.

No clock, no lock, no key: a store reads the states, calls `decide`, and writes what comes back.
"""

from __future__ import annotations

from collections.abc import Sequence

from .escalation import AbuseState
from .plan import Outcome, Plan, State
from .token_bucket import NEVER


def decide(
    plan: Plan, states: Sequence[State], abuse: AbuseState | None, now: int
) -> tuple[Outcome, AbuseState | None]:
    """Decide one plan against the current states at the instant `now` (microseconds).

    `states` stand in the order of the plan's rules, None for an untouched limit. Unless the plan is a peek,
    the store then holds each state in `outcome.found` that is not the very object it handed in, and the
    abuse record, if one is returned.
    """
    # 1. Under a running ban or cooldown: refused at once, nothing consumed, no strike added.
    ladder = plan.ladder
    if abuse is not None and ladder is not None and abuse.blocked_until > now:
        blocked = abuse.blocked_until - now
        if blocked > ladder.longest_us > 0:  # the clock stepped back
            abuse = ladder.clamp(abuse, now)
            return Outcome(False, (), now, 0, ladder.longest_us, abuse.banned == 1), abuse
        return Outcome(False, (), now, 0, blocked, abuse.banned == 1), None

    # 2. Every limit is asked; nothing is written yet.
    cost = plan.cost
    found = [rule.step(state, now, cost) for rule, state in zip(plan.rules, states)]  # noqa: B905 (0.1 us)
    shadowed = ladder is not None and abuse is not None and abuse.shadow_until > now

    # 3. All admit: all are charged.
    refusing = [(rule, answer[0]) for rule, answer in zip(plan.rules, found) if answer[0]]  # noqa: B905
    if not refusing:
        if plan.peek:
            found = [rule.step(state, now, 0) for rule, state in zip(plan.rules, states, strict=True)]
        return Outcome(True, found, now, 0, 0, False, shadowed), None

    # 4. One refuses: none is charged.
    if len(refusing) < len(found):
        for i, answer in enumerate(found):
            if not answer[0]:
                found[i] = plan.rules[i].step(states[i], now, 0)
    if ladder is None or (abuse is not None and now < abuse.episode_until):
        return Outcome(False, found, now, 0, 0, False, shadowed), None

    # 5. The first refusal of an episode is a strike, and the ladder's rung applies.
    episodes = [rule.limit.episode_us(retry) for rule, retry in refusing if rule.strikes and retry != NEVER]
    if not episodes:
        return Outcome(False, found, now, 0, 0, False, shadowed), None
    abuse = ladder.strike(abuse, now, max(episodes))
    rung = ladder.rung(abuse.strikes)
    return (
        Outcome(
            allowed=rung.forgive and len(episodes) == len(refusing),
            found=found,
            at=now,
            strike=abuse.strikes,
            blocked_us=rung.block_us,
            banned=rung.ban_us > 0,
            shadowed=abuse.shadow_until > now,
        ),
        abuse,
    )
