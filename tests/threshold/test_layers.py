"""Layers: which rules a method and a path bring, and how few columns that takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import (
    Caller,
    ConfigurationError,
    MemoryStore,
    Policy,
    SlidingWindow,
    Threshold,
    Tiers,
    TokenBucket,
)
from threshold.layers import LAYERS

ROW = {"requests": "1/s", "writes": "2/s", "uploads": "3/s", "ai": "4/s"}
BY_CATEGORY = Policy(
    tenant=Tiers({"t": ROW}, "t"), upload_prefixes=["/api/uploads", "/media/"], ai_prefixes=["/api/ai"]
)


def names(policy: Policy, caller: Caller) -> list[str]:
    plan = policy.plan(caller)
    return [] if plan is None else [rule.name for rule in plan.rules]


def test_the_rules_of_an_endpoint_are_the_same_objects_whoever_lined_them_up_first() -> None:
    layers = Policy(edge="9/s", user="9/s", missing_address="skip")._layers
    target = layers.compiled("GET", "/")
    assert layers.column(target, None, None) is layers.column(target, None, None)
    first = layers.column_nowhere(target, None, None, True)
    assert first is layers.column_nowhere(target, None, None, True)


class Loud(str):
    """A text that other texts are not equal to."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 7


def test_a_tenant_is_counted_by_its_text_whatever_class_that_is_of() -> None:
    guard = Threshold(Policy(tenant="2/hour"), MemoryStore())
    callers = [Caller("203.0.113.9", tenant) for tenant in (Loud("acme"), Loud("acme"), "acme")]
    assert [guard.check(caller).allowed for caller in callers] == [True, True, False]


@pytest.mark.parametrize(
    ("method", "path", "category"),
    [
        ("GET", "/", "requests"),
        ("HEAD", "/api/posts", "requests"),
        ("OPTIONS", "/api/posts", "requests"),
        ("POST", "/api/posts", "writes"),
        ("PUT", "/api/posts", "writes"),
        ("PATCH", "/api/posts", "writes"),
        ("DELETE", "/api/posts", "writes"),
        ("GET", "/api/uploads", "uploads"),
        ("POST", "/api/uploads/image", "uploads"),
        ("POST", "//api//uploads//image/", "uploads"),
        ("POST", "/media/cat", "uploads"),
        ("GET", "/media", "uploads"),
        ("GET", "/mediator", "requests"),
        ("POST", "/api/ai/draft", "ai"),
        ("GET", "/api/ai", "ai"),
        ("POST", "/api/aid", "writes"),
        ("POST", "/x/api/ai", "writes"),
    ],
)
def test_a_request_has_one_category(method: str, path: str, category: str) -> None:
    assert names(BY_CATEGORY, Caller(tenant="t1", method=method, path=path)) == [f"tenant:{category}"]


def test_ai_comes_before_uploads_when_a_path_is_under_both() -> None:
    policy = Policy(tenant=Tiers({"t": ROW}, "t"), upload_prefixes=["/api"], ai_prefixes=["/api/ai"])
    assert names(policy, Caller(tenant="t1", path="/api/ai/x")) == ["tenant:ai"]
    assert names(policy, Caller(tenant="t1", path="/api/x")) == ["tenant:uploads"]


def test_layers_stand_in_one_order_and_an_absent_one_limits_nothing() -> None:
    policy = Policy("9/s", "8/s", "7/s", {"POST /x": "6/s"})
    post = Caller("203.0.113.9", "t1", None, "u1", "POST", "/x")
    plan = policy.plan(post)
    assert plan is not None
    assert [rule.layer for rule in plan.rules] == list(LAYERS)
    assert [rule.limit.limit for rule in plan.rules] == [9, 8, 7, 6]
    assert names(Policy(user="7/s"), post) == ["user"]
    assert names(Policy(endpoints={"POST /x": "6/s"}), post) == ["POST /x"]
    assert Policy(endpoints={"POST /x": "6/s"}).plan(Caller(user="u1", path="/x")) is None


def test_only_user_and_endpoint_limits_may_strike() -> None:
    plan = Policy("9/s", "8/s", "7/s", {"/x": "6/s"}).plan(Caller("203.0.113.9", "t1", None, "u1", path="/x"))
    assert plan is not None
    assert {rule.layer: rule.strikes for rule in plan.rules} == {
        "edge": False,
        "tenant": False,
        "user": True,
        "endpoint": True,
    }


def test_a_pattern_replaces_the_default_of_its_layer() -> None:
    policy = Policy(edge={"/auth/*": "1/s", "default": "9/s"}, user={"GET /x": "2/s"})
    caller = Caller("203.0.113.9", user="u1", path="/auth/login")
    assert names(policy, caller) == ["edge:/auth/*"]
    caller.path = "/x"
    assert names(policy, caller) == ["edge", "user:GET /x"]


def test_requests_that_match_nothing_share_one_bucket_however_many_there_are() -> None:
    policy = Policy.default()
    keys = set()
    targets = set()
    for n in range(6000):
        plan = policy.plan(Caller("203.0.113.9", path=f"/wp-admin/{n}.php"))
        assert plan is not None
        keys.add(plan.keys)
        targets.add(id(plan.rules))
    assert len(keys) == len(targets) == 1


def test_items_of_one_pattern_are_one_endpoint() -> None:
    policy = Policy(user={"GET /items/{id}": "1/s"})
    plans = [policy.plan(Caller(user="u1", path=path)) for path in ("/items/1", "/items/2", "//items/3/")]
    assert len({plan.keys for plan in plans if plan is not None}) == 1
    assert None not in plans


@given(st.text(min_size=600, max_size=700))
def test_long_paths_are_decided_without_being_remembered(tail: str) -> None:
    policy = Policy(user={"/a/*": "1/s", "default": "2/s"})
    policy.plan(Caller(user="u1", path="/a/" + tail))
    plan = policy.plan(Caller(user="u1", path="/a/" + tail))
    assert plan is not None and plan.rules[0].name == "user:/a/*"
    assert not policy._layers.targets


@given(st.integers(0, 1), st.integers(400, 700))
def test_long_methods_are_not_remembered_either(part: int, length: int) -> None:
    method, path = ("M" * length, "/" + "a" * 150) if part else ("M" * 150, "/" + "a" * length)
    policy = Policy(user={"/a/*": "1/s", "default": "2/s"})
    plan = policy.plan(Caller(user="u1", method=method, path=path))
    assert plan is not None and plan.rules[0].name == "user"
    assert sum(len(method) + len(path) for method, path in policy._layers.targets) <= 512


def test_fail_closed_turns_every_layer_of_its_endpoints_to_deny() -> None:
    policy = Policy("9/s", "8/s", "7/s", {"POST /pay": "6/s"}, fail_closed=["/pay"], on_store_error="local")
    caller = Caller("203.0.113.9", "t1", None, "u1", "POST", "/pay")
    closed = policy.plan(caller)
    caller.path = "/other"
    other = policy.plan(caller)
    assert closed is not None and other is not None
    assert [rule.on_store_error for rule in closed.rules] == ["deny"] * 4
    assert [rule.on_store_error for rule in other.rules] == ["local"] * 3
    assert closed.keys[:3] == other.keys, "the same buckets, only another answer while the store is away"


def test_each_layer_has_its_own_answer_to_a_store_that_is_away() -> None:
    policy = Policy("9/s", "8/s", "7/s", {"/x": "6/s"}, on_store_error={"edge": "local", "endpoint": "deny"})
    plan = policy.plan(Caller("203.0.113.9", "t1", None, "u1", path="/x"))
    assert plan is not None
    assert [rule.on_store_error for rule in plan.rules] == ["local", "allow", "allow", "deny"]


def test_a_policy_knows_every_limit_it_can_ask_for() -> None:
    tiers = Tiers({"a": {"requests": "1/s", "ai": "2/s"}, "b": "3/s"}, "a")
    policy = Policy("4/s", tiers, {"/x": "5/s", "default": "6/s"}, {"/y": "7/s"})
    assert sorted(limit.limit for limit in policy.limits) == [1, 2, 3, 4, 5, 6, 7]
    assert TokenBucket("7/s") in policy.limits


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"edge": 5}, "edge"),
        ({"user": {"/x": "fast"}}, "user./x"),
        ({"user": {"x": "1/s"}}, "user"),
        ({"endpoints": {"default": "1/s"}}, "endpoints"),
        ({"endpoints": {"POST /x": None}}, "endpoints.POST /x"),
        ({"upload_prefixes": "/x"}, "upload_prefixes"),
        ({"ai_prefixes": ["x"]}, "ai_prefixes"),
        ({"ai_prefixes": ["/my%20ai"]}, "ai_prefixes"),
        ({"user": {"/my%2Dposts": "1/s"}}, "user"),
        ({"fail_closed": "/x"}, "fail_closed"),
        ({"fail_closed": [5]}, "fail_closed"),
        ({"allow_users": "root"}, "allow_users"),
        ({"allow": ["nowhere"]}, "allow"),
        ({"allow": None}, "allow"),
        ({"allow": 5}, "allow"),
        ({"allow_users": None}, "allow_users"),
        ({"upload_prefixes": None}, "upload_prefixes"),
        ({"fail_closed": None}, "fail_closed"),
        ({"tenant": "fast"}, "tenant"),
        ({"tenant": 5}, "tenant"),
        ({"headers": "all"}, "headers"),
        ({"missing_address": "none"}, "missing_address"),
        ({"ladder": "default"}, "ladder"),
        ({"name": ""}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"on_store_error": "ignore"}, "on_store_error"),
        ({"on_store_error": {"users": "deny"}}, "on_store_error"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_by_name(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(**arguments)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize("endpoints", ["10/hour", "", TokenBucket("10/hour"), ("POST /api/posts",), [], 0])
def test_endpoints_that_are_no_mapping_are_refused_rather_than_limiting_nothing(endpoints: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(endpoints=endpoints)  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == ("endpoints", endpoints)
    assert caught.value.remedy == 'give {"POST /api/posts": "10/hour"}'


@pytest.mark.parametrize("kind", [TokenBucket, SlidingWindow])
def test_a_class_in_place_of_a_limit_is_refused_in_every_layer(kind: type) -> None:
    for arguments in (
        {"edge": kind},
        {"tenant": kind},
        {"user": kind},
        {"user": {"/x": kind}},
        {"endpoints": {"POST /x": kind}},
    ):
        with pytest.raises(ConfigurationError) as caught:
            Policy(**arguments)
        assert caught.value.remedy == f"call it: {kind.__name__}(...)"
