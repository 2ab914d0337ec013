"""The shipped tables, number by number, against a table of their own."""

from __future__ import annotations

import pytest

from threshold import Caller, ConfigurationError, Ladder, Policy, Rung, SlidingWindow, TokenBucket
from threshold.plan import Layer, Limit, Plan
from threshold.presets import default_arguments, default_policy

SECOND = 1
MINUTE = 60
HOUR = 3600
DAY = 86_400

POLICY = Policy.default()

EDGE = [
    ("GET", "/", 1000, MINUTE),
    ("GET", "/no/such/path", 1000, MINUTE),
    ("POST", "/auth/login", 50, 5 * MINUTE),
    ("GET", "/auth/anything/else", 50, 5 * MINUTE),
    ("POST", "/api/uploads/image", 100, HOUR),
    ("POST", "/api/ai/draft", 500, DAY),
]

#                (requests, minute), (writes, hour), (uploads, day), (ai, day)
TIERS = {
    "free": (60, 20, 5, 0),
    "seedling": (100, 50, 10, 25),
    "sapling": (500, 200, 50, 100),
    "oak": (1000, 500, 200, 500),
    "evergreen": (5000, 2000, 1000, 2500),
}
PERIODS = (MINUTE, HOUR, DAY, DAY)
CATEGORIES = (
    ("GET", "/api/posts"),
    ("POST", "/x"),
    ("POST", "/api/uploads/image"),
    ("POST", "/api/ai/draft"),
)

USER = [
    ("auth/login", "POST", "/auth/login", 5, 5 * MINUTE),
    ("auth/callback", "GET", "/auth/callback", 10, 5 * MINUTE),
    ("auth/token", "POST", "/auth/token", 20, MINUTE),
    ("auth/password-reset", "POST", "/auth/password-reset", 3, HOUR),
    ("auth/magic-link", "POST", "/auth/magic-link", 5, 15 * MINUTE),
    ("auth/verify", "GET", "/auth/verify", 100, MINUTE),
    ("auth/passkey-register", "POST", "/auth/passkey/register", 5, HOUR),
    ("auth/passkey-delete", "DELETE", "/auth/passkey/7", 10, HOUR),
    ("auth/passkey-auth", "POST", "/auth/passkey", 20, MINUTE),
    ("session/validate", "GET", "/session/validate", 30, MINUTE),
    ("session/revoke", "POST", "/session/revoke", 30, MINUTE),
    ("session/revoke-all", "POST", "/session/revoke-all", 3, HOUR),
    ("session/list", "GET", "/session", 30, MINUTE),
    ("session/delete", "DELETE", "/session/7", 20, MINUTE),
    ("device/init", "POST", "/auth/device", 10, MINUTE),
    ("device/poll", "POST", "/auth/device/poll", 12, MINUTE),
    ("admin/general", "GET", "/admin/users", 30, MINUTE),
    ("subscription/read", "GET", "/api/subscription", 30, MINUTE),
    ("subscription/write", "PUT", "/api/subscription", 10, MINUTE),
    ("posts/create", "POST", "/api/posts", 10, HOUR),
    ("posts/update", "PATCH", "/api/posts/7", 30, HOUR),
    ("comments/create", "POST", "/api/posts/7/comments", 20, 5 * MINUTE),
    ("upload/image", "POST", "/api/uploads/image", 20, HOUR),
    ("upload/media", "POST", "/api/uploads/media", 10, HOUR),
    ("ai/fireside", "POST", "/api/ai/fireside/send", 50, DAY),
    ("ai/draft", "POST", "/api/ai/draft", 20, DAY),
    ("export/data", "GET", "/api/export/data", 10, HOUR),
    ("export/zip-start", "POST", "/api/export/zip", 3, DAY),
    ("billing/operations", "POST", "/billing/refund", 20, HOUR),
    ("check/username", "GET", "/api/check/username", 30, MINUTE),
    ("og/generate", "GET", "/og/post-7.png", 100, HOUR),
    ("default", "GET", "/no/such/path", 100, MINUTE),
]

ENDPOINT = [
    ("POST", "/api/posts", 10, HOUR),
    ("POST", "/api/signup", 3, DAY),
    ("POST", "/api/password-reset", 3, HOUR),
    ("POST", "/api/ai/fireside/send", 100, DAY),
    ("DELETE", "/api/account", 1, DAY),
]


def plan_of(method: str, path: str, tier: str | None = "free") -> Plan:
    plan = POLICY.plan(Caller("203.0.113.9", "t1", tier, "u1", method, path))
    assert plan is not None
    return plan


def limit_of(layer: Layer, method: str, path: str, tier: str | None = "free") -> Limit | None:
    return next((rule.limit for rule in plan_of(method, path, tier).rules if rule.layer == layer), None)


def numbers(limit: Limit | None) -> tuple[int, int]:
    assert limit is not None
    assert limit.limit == limit.rate.limit, "the burst is the limit"
    assert limit.rate.period_us % 1_000_000 == 0
    return limit.rate.limit, limit.rate.period_us // 1_000_000


@pytest.mark.parametrize(("method", "path", "limit", "period"), EDGE)
def test_the_edge_limits_each_address(method: str, path: str, limit: int, period: int) -> None:
    assert numbers(limit_of("edge", method, path)) == (limit, period)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("category", range(4))
def test_each_tier_has_its_limit_per_category(tier: str, category: int) -> None:
    method, path = CATEGORIES[category]
    assert numbers(limit_of("tenant", method, path, tier)) == (TIERS[tier][category], PERIODS[category])


def test_there_are_these_tiers_and_no_others_and_the_default_is_free() -> None:
    assert POLICY.tiers is not None
    assert set(POLICY.tiers.limits) == set(TIERS)
    assert POLICY.tiers.default == "free"
    assert all(len(row) == 4 for row in POLICY.tiers.limits.values())


@pytest.mark.parametrize(("title", "method", "path", "limit", "period"), USER)
def test_the_user_layer_limits_each_endpoint(
    title: str, method: str, path: str, limit: int, period: int
) -> None:
    assert numbers(limit_of("user", method, path)) == (limit, period)


def test_the_user_layer_has_these_endpoints_and_no_others() -> None:
    assert len(default_arguments()["user"]) == len(USER) == 32


@pytest.mark.parametrize(("method", "path", "limit", "period"), ENDPOINT)
def test_the_endpoint_layer_comes_on_top(method: str, path: str, limit: int, period: int) -> None:
    assert numbers(limit_of("endpoint", method, path)) == (limit, period)
    assert limit_of("user", method, path) is not None


def test_the_endpoint_layer_has_these_endpoints_and_no_others() -> None:
    assert len(default_arguments()["endpoints"]) == len(ENDPOINT)
    assert limit_of("endpoint", "GET", "/api/posts") is None


@pytest.mark.parametrize(("path", "closed"), [("/auth/login", True), ("/billing/refund", True), ("/", False)])
def test_credentials_and_billing_fail_closed_and_everything_else_open(path: str, closed: bool) -> None:
    modes = {rule.on_store_error for rule in plan_of("POST", path).rules}
    assert modes == {"deny" if closed else "allow"}


def test_the_ladder_warns_twice_then_cools_down_twice_then_bans() -> None:
    ladder = POLICY.ladder
    assert ladder == Ladder.default()
    assert [
        (rung.forgive, rung.cooldown, rung.shadow, rung.ban) for rung in map(ladder.rung, range(1, 7))
    ] == [
        (True, 0, 0, 0),
        (True, 0, 0, 0),
        (False, 60, 0, 0),
        (False, 300, DAY, 0),
        (False, 0, 0, DAY),
        (False, 0, 0, DAY),
    ]
    assert (ladder.decay, ladder.delay) == (DAY, (1.0, 3.0))


def test_what_must_never_be_exceeded_gets_sliding_windows_and_traffic_gets_buckets() -> None:
    assert isinstance(limit_of("user", "POST", "/auth/token"), SlidingWindow)
    assert isinstance(limit_of("user", "POST", "/api/posts"), SlidingWindow)
    assert isinstance(limit_of("tenant", "POST", "/api/ai/draft"), SlidingWindow)
    assert isinstance(limit_of("user", "GET", "/"), TokenBucket)
    assert isinstance(limit_of("edge", "GET", "/"), TokenBucket)


@pytest.mark.parametrize("pace", [1, 2, 60, 3600, 10_000])
def test_a_pace_divides_every_window_and_penalty_and_no_number_of_requests(pace: int) -> None:
    for shipped, paced in zip(POLICY.limits, default_policy(pace).limits, strict=True):
        assert (paced.limit, paced.algorithm) == (shipped.limit, shipped.algorithm)
        assert paced.rate.period_us == max(1000, round(shipped.rate.period_us / pace))
    ladder = default_policy(pace).ladder
    assert ladder is not None
    for strike in range(1, 6):
        assert ladder.rung(strike).block_us == round(Ladder.default().rung(strike).block_us / pace)


@pytest.mark.parametrize("pace", [0, 0.5, -1, 10_001, float("nan"), float("inf"), "x", "60", None])
def test_a_pace_out_of_range_is_refused(pace: float) -> None:
    with pytest.raises(ConfigurationError, match="pace"):
        default_policy(pace)


def test_a_policy_can_be_built_from_the_shipped_arguments_with_changes() -> None:
    arguments = default_arguments()
    arguments["ladder"] = Ladder([Rung(ban=60)])
    arguments["endpoints"]["POST /api/search"] = TokenBucket("1/second")
    policy = Policy(**arguments)
    assert policy.ladder == Ladder([Rung(ban=60)])
    assert TokenBucket("1/second") in policy.limits
    assert TokenBucket("1/second") not in Policy.default().limits, "nothing shipped is shared or changed"
