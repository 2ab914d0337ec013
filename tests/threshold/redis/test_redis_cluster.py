"""The stores on a real cluster: groups together, the edge apart, slots on the move, a master killed."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
import redis.asyncio.cluster
import redis.cluster

from threshold import ConfigurationError, SlidingWindow, StoreUnavailable, TokenBucket
from threshold.escalation import Ladder, Rung
from threshold.plan import Plan, Rule
from threshold.stores.base import Store
from threshold.stores.redis import AsyncRedisStore, RedisStore
from threshold.stores.redis.cluster_slots import slot_of
from threshold.stores.redis.keys import KeyNames
from threshold.testing import ManualClock
from threshold.testing.contract_base import Awaited

from .clusters import Cluster
from .walks import START, Twin, fields, keys_of, steps

Make = Callable[..., Store]
EDGE = Rule.of("edge", "edge", TokenBucket("5/day"))
TENANT = Rule.of("tenant", "tenant", TokenBucket("100/day"))
USER = Rule.of("user", "user", SlidingWindow("3/day"), strikes=True)
LADDER = Ladder([Rung(forgive=True), Rung(ban=60)], decay=600)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(params=["blocking", "asyncio"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Store] = []
    runner = asyncio.Runner()

    def build(server: object, **options: Any) -> Store:
        options = {"prefix": secrets.token_hex(5), "budget": 5, "remember": 0, **options}
        store: Any = (
            RedisStore(server, **options)
            if request.param == "blocking"
            else Awaited(AsyncRedisStore(server, **options), runner.run)
        )
        made.append(store)
        return store

    yield build
    for store in made:
        store.close()
    runner.close()


def plan_for(user: str, address: str = "203.0.113.9", tenant: str = "acme", **more: Any) -> Plan:
    keys = (EDGE.scope + address, TENANT.scope + tenant, USER.scope + user)
    return Plan.of((EDGE, TENANT, USER), keys, 1, f"abuse\0{user}", LADDER, tenant, **more)


def left(store: Store, plan: Plan) -> list[int]:
    """What each limit of a plan still admits."""
    look = Plan.of(plan.rules, plan.keys, 0, None, None, plan.group, True)
    return [answer[1] for answer in store.decide(look).found]


def test_a_group_is_one_command_on_one_node_and_the_edge_another(make: Make, cluster: Cluster) -> None:
    store = make(cluster.url)
    store.decide(plan_for("warm"))
    for node in cluster.masters:
        node.client().config_resetstat()
    assert store.decide(plan_for("ann")).allowed
    calls = [
        node.client().info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        for node in cluster.masters
    ]
    assert sum(calls) == 2


def test_names_of_a_group_share_a_slot_whatever_the_group_is_called() -> None:
    names = KeyNames(tagged=True)
    for group in ("", "{}", "}{", "a{b}c", "acme", "\0", "é" * 100, "\ud800"):
        slots = {
            slot_of(name.partition(b"{")[2].partition(b"}")[0]) for name in names.names(("a", "b"), group)
        }
        assert len(slots) == 1
    assert all(len(name) <= 48 for name in names.names(("a" * 1000,), "g"))


def test_the_edge_is_given_back_when_a_later_part_refuses(make: Make, cluster: Cluster) -> None:
    store = make(cluster.url)
    plan = plan_for("ann")
    assert [store.decide(plan).allowed for _ in range(3)] == [True] * 3
    assert left(store, plan) == [2, 97, 0]
    struck = store.decide(plan)
    assert (struck.allowed, struck.strike) == (True, 1)  # forgiven: let through, and charged to nobody
    refused = store.decide(plan)
    assert not refused.allowed
    assert [answer[1] for answer in refused.found] == [2, 97, 0]
    assert left(store, plan) == [2, 97, 0]


def test_a_refusing_edge_charges_nothing_else_and_every_refusal_is_named(
    make: Make, cluster: Cluster
) -> None:
    store = make(cluster.url)
    for user in ("ann", "ann", "ann", "bob", "bob"):
        assert store.decide(plan_for(user)).allowed
    outcome = store.decide(plan_for("cid"))
    assert (outcome.allowed, outcome.strike) == (False, 0)
    assert [answer[0] > 0 for answer in outcome.found] == [True, False, False]
    both = store.decide(plan_for("ann"))
    assert [answer[0] > 0 for answer in both.found] == [True, False, True]
    assert both.strike == 1
    assert not both.allowed  # the rung forgives, but the edge does not strike and is not forgiven
    assert left(store, plan_for("cid")) == [0, 95, 3]


def test_a_ban_gives_the_edge_back_and_reset_with_the_group_lifts_it(make: Make, cluster: Cluster) -> None:
    store: Any = make(cluster.url)
    plan = plan_for("ann", tenant="initech")
    plan.ladder = Ladder([Rung(ban=60)], decay=600)
    assert [store.decide(plan).allowed for _ in range(3)] == [True] * 3
    assert store.decide(plan).banned
    outcome = store.decide(plan)
    assert (outcome.allowed, outcome.banned, outcome.found) == (False, True, ())
    assert left(store, plan) == [2, 97, 0]
    keys = [plan.abuse, *plan.keys[1:]]
    if isinstance(store, Awaited):
        store._run(store._store.reset(keys, group="initech"))
    else:
        store.reset(keys, group="initech")
    store.reset([plan.keys[0]])  # the edge lives with the address it counts
    assert left(store, plan) == [5, 100, 3]
    assert store.decide(plan).allowed


def test_walks_over_parts_agree_with_the_engine_where_nothing_else_is_asked(
    make: Make, cluster: Cluster
) -> None:
    for seed in range(6):
        clock = ManualClock(START)
        store = make(cluster.url, clock=clock)
        twin = Twin()
        for step, expected in steps(Random(seed), 120, twin, back=False):
            clock.now_us = step.now
            if step.what == "decide" and expected is not None:
                told = store.decide(step.plan)
                if any(rule.layer == "edge" for rule in step.plan.rules):
                    # A charge made and given back may have been clamped or pruned: the verdict is the same.
                    assert fields(told)[0] == fields(expected)[0], step
                    assert fields(told)[3:] == fields(expected)[3:], step
                else:
                    assert fields(told) == fields(expected), step
            elif step.what == "refund":
                store.refund(step.plan, step.at)
            else:
                store.reset(keys_of(step.plan))


def test_decisions_go_on_while_a_slot_moves(make: Make) -> None:
    with Cluster() as cluster:
        store = make(cluster.url)
        limit = Rule.of("u", "user", SlidingWindow("40/day"), strikes=True)
        other = Rule.of("e", "endpoint", TokenBucket("1000/day"))

        def plan(user: str) -> Plan:
            keys = (limit.scope + user, other.scope + user)
            return Plan.of((limit, other), keys, 1, f"abuse\0{user}", LADDER, "acme")

        slot = slot_of(KeyNames(tagged=True).tag("acme")[1:-1])
        source = cluster.owner(slot)
        target = next(node for node in cluster.masters if node is not source)
        admitted = sum(store.decide(plan("ann")).allowed for _ in range(10))
        assert store.decide(plan("bob")).allowed
        cluster.begin_to_move(slot, source, target)
        assert store.decide(plan("new")).allowed  # only at the target: ASK
        admitted += sum(store.decide(plan("ann")).allowed for _ in range(10))
        assert cluster.move_keys(slot, source, target, 2) == 2  # some here, some there: TRYAGAIN
        for user in ("ann", "bob", "new"):
            admitted += store.decide(plan(user)).allowed and user == "ann"
        while cluster.move_keys(slot, source, target, 10):
            pass
        admitted += sum(store.decide(plan("ann")).allowed for _ in range(10))
        cluster.finish_to_move(slot, target)  # from now on: MOVED
        answers = [store.decide(plan("ann")) for _ in range(30)]
        plain = [outcome for outcome in answers if outcome.allowed and not outcome.strike]
        assert admitted + len(plain) == 40
        assert not answers[-1].allowed


def test_a_killed_master_is_replaced_and_its_slots_are_found_again(make: Make) -> None:
    with Cluster(replica=True) as cluster:
        store = make(cluster.url, budget=1, probe_interval=0.2)
        names = KeyNames(tagged=True)
        groups = [f"g{i}" for i in range(40)]
        homes = {g: cluster.owner(slot_of(names.tag(g)[1:-1])) for g in groups}
        lost = [g for g in groups if homes[g] is cluster.masters[0]]
        kept = [g for g in groups if homes[g] is not cluster.masters[0]]
        rule = Rule.of("u", "user", TokenBucket("1000/day"))

        def ask(group: str) -> bool:
            try:
                return store.decide(Plan.of((rule,), (rule.scope + group,), 1, group=group)).allowed
            except StoreUnavailable:
                return False

        pause = threading.Event()
        deadline = time.monotonic() + 20
        while not all(ask(group) for group in groups):
            assert time.monotonic() < deadline
        cluster.masters[0].kill()
        seen = [ask(group) for group in kept for _ in range(3)]
        assert sum(seen) >= len(seen) * 0.9, "the other masters' slots go on"
        start = time.monotonic()
        while not all(ask(group) for group in lost):
            assert time.monotonic() - start < 20, "not found again"
            pause.wait(0.05)


def test_clients_of_a_cluster_are_taken_and_those_reading_replicas_refused(cluster: Cluster) -> None:
    port = cluster.masters[0].port
    client = redis.cluster.RedisCluster(host="127.0.0.1", port=port, decode_responses=True)
    store = RedisStore(client, prefix=secrets.token_hex(5), budget=5)
    assert store.decide(plan_for("ann")).allowed
    store.close()
    assert client.ping(target_nodes="random")
    client.close()
    strategies = getattr(redis.cluster, "LoadBalancingStrategy", None)  # from redis-py 5.3 on
    option: dict[str, Any] = (
        {"read_from_replicas": True}
        if strategies is None
        else {"load_balancing_strategy": strategies.ROUND_ROBIN}
    )
    reading = redis.cluster.RedisCluster(host="127.0.0.1", port=port, **option)
    with pytest.raises(ConfigurationError, match="replicas"):
        RedisStore(reading)
    reading.close()

    async def main() -> None:
        awaited = redis.asyncio.cluster.RedisCluster(host="127.0.0.1", port=port)
        store = AsyncRedisStore(awaited, prefix=secrets.token_hex(5), budget=5)
        assert (await store.decide(plan_for("ann"))).allowed
        await store.aclose()
        await awaited.aclose()

    asyncio.run(main())
