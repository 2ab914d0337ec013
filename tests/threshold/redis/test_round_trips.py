"""One decision is one command and one round trip, whatever it decides: counted on the wire."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from threshold import SlidingWindow, TokenBucket
from threshold.escalation import Ladder, Rung
from threshold.plan import Outcome, Plan, Rule
from threshold.stores.redis import AsyncRedisStore, RedisStore

from .proxy import Proxy
from .servers import Server

RULES = (
    Rule.of("edge", "edge", TokenBucket("1000/minute")),
    Rule.of("tenant", "tenant", TokenBucket("1000/hour")),
    Rule.of("user", "user", SlidingWindow("2/hour"), strikes=True),
    Rule.of("endpoint", "endpoint", TokenBucket("100/hour"), strikes=True),
)
SHADOWED = Ladder([Rung(shadow=60)], decay=600)
BANNED = Ladder([Rung(ban=60)], decay=600)


def plan_for(who: str, ladder: Ladder, rules: tuple[Rule, ...] = RULES) -> Plan:
    return Plan.of(rules, tuple(rule.scope + who for rule in rules), 1, f"abuse\0{who}", ladder, who)


@pytest.fixture
def proxy(any_server: Server) -> Iterator[Proxy]:
    with Proxy(any_server.socket) as proxy:
        yield proxy


def story(outcomes: list[Outcome]) -> list[str]:
    """One word for each outcome."""
    words = []
    for outcome in outcomes:
        if outcome.strike:
            words.append("struck")
        elif not outcome.found:
            words.append("banned")
        elif not outcome.allowed:
            words.append("refused")
        else:
            words.append("shadowed" if outcome.shadowed else "admitted")
    return words


def asked() -> list[Plan]:
    """Admitted twice, struck, refused in the same episode, admitted elsewhere under a shadow ban; banned."""
    ann, bob = plan_for("ann", SHADOWED), plan_for("bob", BANNED)
    elsewhere = plan_for("ann", SHADOWED, (RULES[0], RULES[3]))
    return [ann, ann, ann, ann, elsewhere, bob, bob, bob, bob]


TOLD = ["admitted", "admitted", "struck", "refused", "shadowed", "admitted", "admitted", "struck", "banned"]


def test_each_decision_is_one_command_and_one_round_trip(proxy: Proxy) -> None:
    store = RedisStore(proxy.url, prefix=secrets.token_hex(5), remember=0, budget=10)
    store.decide(plan_for("first", SHADOWED))  # connects, and teaches the server the script
    outcomes = []
    for plan in asked():
        proxy.forget()
        outcomes.append(store.decide(plan))
        assert (proxy.commands, proxy.turns) == ([b"EVALSHA"], 1)
    assert story(outcomes) == TOLD
    store.close()


def test_each_awaited_decision_is_one_command_and_one_round_trip(proxy: Proxy) -> None:
    async def main() -> None:
        store = AsyncRedisStore(proxy.url, prefix=secrets.token_hex(5), remember=0, budget=10)
        await store.decide(plan_for("first", SHADOWED))
        outcomes = []
        for plan in asked():
            proxy.forget()
            outcomes.append(await store.decide(plan))
            assert (proxy.commands, proxy.turns) == ([b"EVALSHA"], 1)
        assert story(outcomes) == TOLD
        await store.aclose()

    asyncio.run(main())


def test_decisions_of_one_turn_share_one_command(proxy: Proxy) -> None:
    async def main() -> None:
        store = AsyncRedisStore(proxy.url, prefix=secrets.token_hex(5), budget=10)
        await store.decide(plan_for("first", SHADOWED))
        proxy.forget()
        outcomes = await asyncio.gather(*(store.decide(plan_for(f"u{i}", SHADOWED)) for i in range(50)))
        assert all(outcome.allowed for outcome in outcomes)
        assert (proxy.commands, proxy.turns) == ([b"EVALSHA"], 1)
        await store.aclose()

    asyncio.run(main())


def test_a_remembered_refusal_costs_no_round_trip_until_it_could_end(proxy: Proxy) -> None:
    store = RedisStore(proxy.url, prefix=secrets.token_hex(5), budget=10)
    plan = plan_for("ann", BANNED)
    for _ in range(3):
        store.decide(plan)
    proxy.forget()
    outcomes = [store.decide(plan) for _ in range(100)]
    assert story(outcomes) == ["banned"] * 100
    assert proxy.commands == []
    assert 0 < outcomes[-1].blocked_us < outcomes[0].blocked_us <= 60_000_000
    store.reset([plan.abuse or "", *plan.keys])
    assert store.decide(plan).allowed
    store.close()
