"""Policies from TOML: everything expressible, nothing ignored."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from threshold import Caller, Ladder, Policy, Rung, SlidingWindow, Tiers, TokenBucket
from threshold.config import _KEYS, parse_policy
from threshold.plan import Limit, Rule
from threshold.presets import EDGE, ENDPOINTS, TIERS, USER

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "docs" / "examples" / "threshold.toml"
REFERENCE = ROOT / "docs" / "reference" / "policy-file.md"

CALLERS = [
    Caller("203.0.113.9", "t1", tier, user, method, re.sub(r"\{.*?\}|\*", "x", path))
    for tier in (*TIERS, "no such tier", None)
    for user in ("u1", None)
    for pattern in {*EDGE, *USER, *ENDPOINTS, "default", "/media/x", "/api/posts", "/api/search"}
    for path in [pattern.split()[-1] if "/" in pattern else "/elsewhere"]
    for method in (pattern.split()[0].split("|")[0] if " " in pattern else "GET", "GET", "POST")
]


def rules_of(policy: Policy, caller: Caller) -> list[Rule]:
    plan = policy.plan(caller)
    return [] if plan is None else list(plan.rules)


def assert_same(left: Policy, right: Policy) -> None:
    """Both policies ask the same of everybody, and answer the same."""
    assert left.limits == right.limits
    assert left.ladder == right.ladder
    assert (left.name, left.headers, left.dry_run) == (right.name, right.headers, right.dry_run)
    assert (left.missing_address, left.strike_anonymous) == (right.missing_address, right.strike_anonymous)
    for caller in CALLERS:
        assert left.plan(caller) == right.plan(caller)


def limit_of(text: str) -> Limit:
    [limit] = parse_policy(f"user = {text}").limits
    return limit


def test_the_shipped_file_is_the_default_policy() -> None:
    assert_same(Policy.from_toml(SHIPPED), Policy.default())


def test_a_preset_alone_is_the_default_policy() -> None:
    assert_same(parse_policy('preset = "default"'), Policy.default())


def test_an_empty_file_limits_nothing() -> None:
    policy = parse_policy("")
    assert policy.limits == []
    assert policy.plan(Caller("203.0.113.9", "t1", None, "u1")) is None


def test_every_argument_of_a_policy_is_a_key_and_nothing_else_is() -> None:
    arguments = set(inspect.signature(Policy.__init__).parameters) - {"self"}
    assert set(_KEYS) == arguments | {"preset"}


def test_the_example_of_the_reference_uses_every_key_and_means_what_it_says() -> None:
    found = re.search(r"```toml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    assert found is not None
    text = found[1]
    for key in _KEYS:
        assert re.search(rf"^{key} = |^\[{key}\]", text, re.MULTILINE), key
    policy = parse_policy(text, "example")
    assert policy.name == "blog"
    assert policy.ladder == Ladder(
        [Rung(forgive=True), Rung(cooldown=60), Rung(cooldown=300, shadow=86_400), Rung(ban=86_400)],
        decay=86_400,
        delay=(1, 2.5),
    )
    assert policy.plan(Caller("10.2.3.4")) is None
    assert policy.plan(Caller("203.0.113.9", user="health-check")) is None
    search = rules_of(policy, Caller("203.0.113.9", user="u1", path="/api/search"))
    assert [(rule.name, rule.limit.rate.limit, rule.on_store_error) for rule in search] == [
        ("edge", 2000, "local"),
        ("user:GET /api/search", 2, "local"),
    ]
    login = rules_of(policy, Caller("203.0.113.9", path="/auth/login", method="POST"))
    assert [rule.on_store_error for rule in login] == ["deny", "deny"]
    post = rules_of(policy, Caller("203.0.113.9", "t1", "free", "u1", "POST", "/api/posts"))
    assert [rule.limit for rule in post] == [
        TokenBucket("2000/minute"),
        SlidingWindow("30/hour"),
        SlidingWindow("10/hour"),
        SlidingWindow("10/hour"),
    ]
    media = rules_of(policy, Caller(None, "t1", "free", "u1", "GET", "/media/cat.jpg"))
    assert [rule.name for rule in media][1] == "tenant:uploads"
    thought = rules_of(policy, Caller(None, "t1", "redwood", "u1", "POST", "/api/ai/other"))
    assert [rule.limit for rule in thought][:2] == [TokenBucket("2000/minute"), TokenBucket("5000/day")]
    assert policy.tiers is not None
    assert set(policy.tiers.limits) == {"free", "sapling", "oak", "evergreen", "redwood"}
    assert policy.tiers.limit("evergreen", "ai") == TokenBucket("5000/minute")


def test_the_key_table_of_the_reference_is_complete() -> None:
    keys = re.findall(r"^\| `(\w+)` \|", REFERENCE.read_text(), re.MULTILINE)
    assert sorted(keys) == sorted(_KEYS)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ('"100/minute"', TokenBucket("100/minute")),
        ('{ rate = "100/minute" }', TokenBucket("100/minute")),
        ('{ rate = "100/minute", burst = 20 }', TokenBucket("100/minute", burst=20)),
        ('{ rate = "100/minute", algorithm = "token-bucket" }', TokenBucket("100/minute")),
        ('{ rate = "5 per 5 minutes", algorithm = "sliding-window" }', SlidingWindow("5 per 5 minutes")),
        (
            '{ rate = "5/hour", algorithm = "sliding-window", precision = 7 }',
            SlidingWindow("5/hour", precision=7),
        ),
        ('{ limit = 100, per = "90 s", burst = 3 }', TokenBucket("100 per 90 seconds", burst=3)),
        ("{ limit = 100, per = 1.5 }", TokenBucket("100 per 1500 ms")),
        ('"0/day"', TokenBucket("0/day")),
    ],
)
def test_a_limit_can_be_written_in_every_form(text: str, limit: Limit) -> None:
    assert limit_of(text) == limit
    assert parse_policy(f"edge = {text}").limits == [limit]
    assert parse_policy(f"tenant = {text}").limits == [limit]
    assert parse_policy(f'endpoints."GET /x" = {text}').limits == [limit]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ('"5 minutes"', 300), ('"24 h"', 86_400), ('"1.5 s"', 1.5), ('"250ms"', 0.25)],
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(text: str, seconds: float) -> None:
    policy = parse_policy(f"[[ladder.rungs]]\ncooldown = {text}")
    assert policy.ladder == Ladder([Rung(cooldown=seconds)])


def test_a_ladder_can_be_named_spelt_out_or_left_out() -> None:
    assert parse_policy('ladder = "default"').ladder == Ladder.default()
    assert parse_policy("").ladder is None
    text = "[ladder]\ndecay = '2 h'\ndelay = [0.5, '1 s']\nrungs = [{forgive = true}, {ban = '1 h'}]"
    expected = Ladder([Rung(forgive=True), Rung(ban=3600)], decay=7200, delay=(0.5, 1.0))
    assert parse_policy(text).ladder == expected


def test_every_scalar_argument_arrives() -> None:
    policy = parse_policy(
        """
        name = "blog"
        headers = "ietf"
        dry_run = true
        strike_anonymous = true
        missing_address = "skip"
        on_store_error = "local"
        user = "1/minute"
        """
    )
    assert (policy.name, policy.headers, policy.dry_run) == ("blog", "ietf", True)
    assert (policy.strike_anonymous, policy.missing_address) == (True, "skip")
    [rule] = rules_of(policy, Caller(user="u1"))
    assert rule.on_store_error == "local"


def test_a_file_equals_the_same_policy_written_in_python() -> None:
    text = """
    edge = "1000/minute"
    fail_closed = ["/auth/*"]
    [tenant]
    default = "free"
    tiers.free = { requests = "60/minute", writes = "20/hour" }
    tiers.oak = "1000/minute"
    [user]
    default = "100/minute"
    "/admin/*" = "30/minute"
    [endpoints]
    "POST /api/posts" = "10/hour"
    [on_store_error]
    user = "deny"
    """
    python = Policy(
        edge="1000/minute",
        tenant=Tiers(
            {"free": {"requests": "60/minute", "writes": "20/hour"}, "oak": "1000/minute"}, default="free"
        ),
        user={"default": "100/minute", "/admin/*": "30/minute"},
        endpoints={"POST /api/posts": "10/hour"},
        fail_closed=["/auth/*"],
        on_store_error={"user": "deny"},
    )
    assert_same(parse_policy(text), python)


def test_a_preset_is_merged_by_pattern_and_by_tier() -> None:
    policy = parse_policy(
        """
        preset = "default"
        [user]
        "POST /api/posts" = "99/hour"
        [tenant.tiers.free]
        writes = "7/hour"
        """
    )
    changed = rules_of(policy, Caller("203.0.113.9", "t1", "free", "u1", "POST", "/api/posts"))
    assert [rule.limit.rate.limit for rule in changed] == [1000, 7, 99, 10]
    shipped = Policy.default()
    for caller in CALLERS:
        if caller.method == "GET":
            assert policy.plan(caller) == shipped.plan(caller)


def test_false_drops_what_a_preset_has() -> None:
    policy = parse_policy(
        """
        preset = "default"
        edge = false
        ladder = false
        user."POST /api/posts" = false
        endpoints."POST /api/posts" = false
        tenant.tiers.oak = false
        tenant.tiers.free.writes = false
        """
    )
    assert policy.ladder is None
    assert policy.tiers is not None and "oak" not in policy.tiers.limits
    rules = rules_of(policy, Caller("203.0.113.9", "t1", "free", "u1", "POST", "/api/posts"))
    assert [(rule.name, rule.limit.rate.limit) for rule in rules] == [("tenant:requests", 60), ("user", 100)]


def test_one_limit_for_a_layer_replaces_the_table_of_a_preset() -> None:
    policy = parse_policy('preset = "default"\nuser = "7/minute"\ntenant = "9/minute"\nladder = "default"')
    rules = rules_of(policy, Caller("203.0.113.9", "t1", "free", "u1", "POST", "/auth/login"))
    assert [rule.limit.rate.limit for rule in rules] == [50, 9, 7]


def test_a_preset_keeps_the_parts_of_its_ladder_that_are_not_written() -> None:
    ladder = parse_policy('preset = "default"\nladder.decay = "1 h"').ladder
    assert ladder == Ladder(Ladder.default().rungs, decay=3600)
