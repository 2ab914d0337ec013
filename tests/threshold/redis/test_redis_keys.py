"""What is kept on the server: names that say nothing, an end for every key, few bytes."""

from __future__ import annotations

import os
import secrets
import shutil

import pytest

from threshold import SlidingWindow, TokenBucket
from threshold.escalation import Ladder, Rung
from threshold.plan import Plan, Rule
from threshold.stores.redis import RedisStore
from threshold.stores.redis.keys import KeyNames

from .servers import Server, valkey_binary

RULES = (
    Rule.of("per address", "edge", TokenBucket("100/minute")),
    Rule.of("per user", "user", SlidingWindow("2/minute"), strikes=True),
    Rule.of("endpoint", "endpoint", TokenBucket("5/hour")),
)
LADDER = Ladder([Rung(ban=60)], decay=600)


def plan_for(who: str, rules: tuple[Rule, ...] = RULES) -> Plan:
    return Plan.of(rules, tuple(rule.scope + who for rule in rules), 1, f"abuse\0{who}", LADDER, who)


def test_nothing_on_the_server_can_be_read_and_everything_ends(any_server: Server) -> None:
    prefix = secrets.token_hex(4)
    store = RedisStore(any_server.url, prefix=prefix, budget=10, remember=0)
    who = "ann@example.org/203.0.113.9"
    for _ in range(4):
        outcome = store.decide(plan_for(who))
    store.refund(plan_for(who), outcome.at)
    client = any_server.client()
    names = list(client.scan_iter(f"{prefix}:*"))
    assert len(names) == 4
    longest = {0: 61, 1: 100, 2: 1442, 3: 601}  # seconds, slack included
    for name in names:
        assert len(name) <= 48
        for part in (b"ann", b"example", b"203", b"user", b"address", b"endpoint", b"abuse"):
            assert part not in name
            assert part not in client.get(name)
        assert 0 < client.pttl(name) <= 1000 * max(longest.values())
    store.reset([*plan_for(who).keys, f"abuse\0{who}"])
    assert list(client.scan_iter(f"{prefix}:*")) == []
    store.close()
    client.close()


def test_an_expired_key_is_gone_when_its_state_is_at_rest_and_a_second(shared_server: Server) -> None:
    prefix = secrets.token_hex(4)
    store = RedisStore(shared_server.url, prefix=prefix, budget=10)
    rule = Rule.of("u", "user", TokenBucket("10/second"))
    outcome = store.decide(Plan.of((rule,), (rule.scope + "ann",), 3, group="ann"))
    client = shared_server.client()
    (name,) = client.scan_iter(f"{prefix}:*")
    assert 1000 <= client.pttl(name) <= 1000 + outcome.found[0][2] // 1000
    store.close()
    client.close()


def test_another_secret_is_another_name() -> None:
    assert KeyNames(secret=b"a").name("k", "") != KeyNames(secret=b"b").name("k", "")
    assert KeyNames().name("k", "") == KeyNames().name("k", "other group")
    assert KeyNames(tagged=True).name("k", "a") != KeyNames(tagged=True).name("k", "b")


def bytes_per_key(binary: str, rule: Rule, count: int, spread: int = 1) -> float:
    """Growth of used_memory over `count` keys."""
    with Server(binary) as server:
        client = server.client()
        store = RedisStore(server.url, budget=10)
        store.decide(Plan.of((rule,), (rule.scope + "warm",), 1))
        client.config_set("lazyfree-lazy-expire", "no")
        before = client.info("memory")["used_memory"]
        for i in range(count):
            store.decide(Plan.of((rule,), (f"{rule.scope}u{i}",), 1))
        grown = client.info("memory")["used_memory"] - before
        assert client.dbsize() == count + 1
        client.close()
        store.close()
    return grown / count


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_token_bucket_takes_few_bytes(kind: str) -> None:
    binary = valkey_binary() if kind == "valkey" else shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH")
    # 12,500 keys fill the server's tables as 100,000 do (both 0.76); the long run counts those.
    used = bytes_per_key(binary, Rule.of("u", "user", TokenBucket("100/day")), 12_500)
    assert used <= (90 if kind == "valkey" else 140), used


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_hundred_thousand_token_buckets_take_few_bytes(kind: str) -> None:
    binary = valkey_binary() if kind == "valkey" else shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH")
    used = bytes_per_key(binary, Rule.of("u", "user", TokenBucket("100/day")), 100_000)
    print(f"{kind}: {used:.1f} bytes per key")
    assert used <= (90 if kind == "valkey" else 140), used


def test_connections_do_not_survive_a_fork(shared_server: Server) -> None:
    store = RedisStore(shared_server.url, prefix=secrets.token_hex(4), budget=10)
    rule = Rule.of("u", "user", TokenBucket("1000/day"))
    plan = Plan.of((rule,), (rule.scope + "ann",), 1)
    assert store.decide(plan).found[0][1] == 999
    pid = os.fork()
    if pid == 0:  # the child: any mix-up of replies shows in what is left
        seen = -1
        try:
            seen = min(store.decide(plan).found[0][1] for _ in range(50))
        finally:
            os._exit(0 if 0 <= seen <= 949 else 1)
    mine = [store.decide(plan).found[0][1] for _ in range(50)]
    assert mine == sorted(mine, reverse=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.decide(plan).found[0][1] == 1000 - 1 - 50 - 50 - 1
    store.close()
