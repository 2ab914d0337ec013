"""Policy: plan says what applies to whom, conclude what the store's answer means. No store needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threshold import Caller, ConfigurationError, Ladder, Policy, Rung, Tiers
from threshold.plan import Outcome, Plan
from threshold.token_bucket import NEVER

FULL = Policy(
    "9/s", Tiers({"free": "8/s", "oak": "7/s"}, "free"), "6/s", {"POST /x": "5/s"}, Ladder.default()
)
ANYBODY = Caller("203.0.113.9", "t1", "oak", "u1", "POST", "/x")

IDENTITIES = st.one_of(
    st.none(),
    st.text(max_size=6),
    st.text(alphabet="\0:1au2é/", max_size=6),
    st.sampled_from(["", "\0", ":", "u:1", "1:t", "203.0.113.9", "None", "unknown", "a:unknown"]),
)
ADDRESSES = st.sampled_from([None, "203.0.113.9", "203.0.113.10", "2001:db8::1", "junk", ""])
WHO = st.tuples(IDENTITIES, IDENTITIES, ADDRESSES)


def plan_of(policy: Policy, caller: Caller) -> Plan:
    plan = policy.plan(caller)
    assert plan is not None
    return plan


def key_of(policy: Policy, layer: str, caller: Caller) -> str:
    plan = plan_of(policy, caller)
    [key] = [key for rule, key in zip(plan.rules, plan.keys, strict=True) if rule.layer == layer]
    return key


# Keys


@given(WHO, WHO)
@example(("1", ":2", None), ("1:", "2", None))
@example((None, "2:t:u", None), ("t", "u", None))
@example(("t", "u", None), (None, "1:t:u", None))
@example(("a", "b:c", None), ("a:b", "c", None))
@example((None, None, "203.0.113.9"), (None, "203.0.113.9", None))
def test_two_callers_share_a_key_only_when_they_are_the_same(
    one: tuple[str | None, str | None, str | None], two: tuple[str | None, str | None, str | None]
) -> None:
    def meant(who: tuple[str | None, str | None, str | None]) -> tuple[str | None, ...]:
        tenant, user, address = who
        where = address if address and address != "junk" else "nowhere"
        return (tenant or None, user or None, None if user else where)

    callers = [Caller(address, tenant, None, user, "POST", "/x") for tenant, user, address in (one, two)]
    plans = [plan_of(FULL, caller) for caller in callers]
    for layer in ("user", "endpoint"):
        keys = [key_of(FULL, layer, caller) for caller in callers]
        assert (keys[0] == keys[1]) == (meant(one) == meant(two))
    if plans[0].abuse is not None or plans[1].abuse is not None:
        assert (plans[0].abuse == plans[1].abuse) == (meant(one) == meant(two))
    if one[0] and two[0]:
        tenants = [key_of(FULL, "tenant", caller) for caller in callers]
        assert (tenants[0] == tenants[1]) == (one[0] == two[0])


@given(WHO)
def test_no_two_keys_of_one_plan_are_alike_and_each_opens_with_its_scope(
    who: tuple[str | None, str | None, str | None],
) -> None:
    tenant, user, address = who
    plan = plan_of(FULL, Caller(address, tenant, None, user, "POST", "/x"))
    everything = [*plan.keys, *([plan.abuse] if plan.abuse else [])]
    assert len(set(everything)) == len(everything)
    for rule, key in zip(plan.rules, plan.keys, strict=True):
        assert rule.scope.endswith("\0") and rule.scope.count("\0") == 1
        assert key.startswith(rule.scope) and len(key) > len(rule.scope)


def test_policies_of_different_names_share_no_state() -> None:
    plain = {"user": "6/s", "edge": "9/s", "endpoints": {"/x": "5/s"}}
    tricky = ["default", "dry", "user", "edge", "a", "a:user", "@1:a", "dry@1:a", "7:default", "tenant:free"]
    policies = [
        Policy(**plain, name=name, dry_run=dry, tenant=Tiers({"free": "8/s"}, "free"))  # type: ignore[arg-type]
        for name in tricky
        for dry in (False, True)
    ]
    policies.append(Policy(user={"/x": "5/s"}, name="other"))
    caller = Caller("203.0.113.9", "t1", None, "u1", path="/x")
    keys = [key for policy in policies for key in plan_of(policy, caller).keys]
    keys += [policy.abuse_key("u1", "t1", None) for policy in policies]
    assert len(keys) == len(set(keys))
    collider = Policy(endpoints={"/x": "5/s"}, name="user")
    assert key_of(collider, "endpoint", caller) != key_of(Policy(user={"/x": "5/s"}), "user", caller)


def test_a_changed_limit_never_reads_the_state_of_the_old_one() -> None:
    keys = {key_of(Policy(user=rate), "user", Caller(user="u1")) for rate in ("6/s", "7/s", "6/minute")}
    assert len(keys) == 3


def test_tenants_are_counted_by_tier_so_that_an_upgrade_starts_afresh() -> None:
    free, oak = (Caller(None, "t1", tier, "u1") for tier in ("free", "oak"))
    assert key_of(FULL, "tenant", free) != key_of(FULL, "tenant", oak)
    unknown = Caller(None, "t1", "no such tier", "u1")
    assert key_of(FULL, "tenant", unknown) == key_of(FULL, "tenant", free)


# Missing identities


@pytest.mark.parametrize("user", [None, ""])
def test_a_caller_without_user_counts_by_address_and_cannot_strike(user: str | None) -> None:
    plan = plan_of(FULL, Caller("203.0.113.9", user=user, method="POST", path="/x"))
    assert [rule.layer for rule in plan.rules] == ["edge", "user", "endpoint"]
    assert all(key.endswith("203.0.113.9") for key in plan.keys)
    assert plan.abuse is None and plan.ladder is None


@pytest.mark.parametrize("tenant", [None, ""])
def test_a_request_without_tenant_skips_the_tenant_layer(tenant: str | None) -> None:
    assert [rule.layer for rule in plan_of(FULL, Caller(tenant=tenant, user="u1")).rules] == ["edge", "user"]


@pytest.mark.parametrize("address", [None, "", "unix:", "203.0.113.9:80", "fe80::1%1"])
def test_requests_without_usable_address_share_one_name_by_default(address: str | None) -> None:
    shared = plan_of(FULL, Caller(None))
    assert plan_of(FULL, Caller(address)).keys == shared.keys
    assert plan_of(FULL, Caller("203.0.113.9")).keys != shared.keys
    assert all("None" not in key for key in shared.keys)


@pytest.mark.parametrize("address", [None, "", "junk"])
def test_requests_without_usable_address_can_skip_the_layers_that_count_addresses(
    address: str | None,
) -> None:
    policy = Policy("9/s", "8/s", "6/s", {"/": "5/s"}, missing_address="skip")
    assert policy.plan(Caller(address)) is None
    assert [rule.layer for rule in plan_of(policy, Caller(address, "t1")).rules] == ["tenant"]
    signed_in = plan_of(policy, Caller(address, "t1", None, "u1"))
    assert [rule.layer for rule in signed_in.rules] == ["tenant", "user", "endpoint"]


def test_anonymous_callers_strike_by_address_only_when_told_to_and_never_under_a_shared_name() -> None:
    for missing in ("share", "skip"):
        policy = Policy(
            tenant="8/s",
            user="6/s",
            ladder=Ladder.default(),
            strike_anonymous=True,
            missing_address=missing,
        )
        assert plan_of(policy, Caller("203.0.113.9")).abuse == policy.abuse_key(None, None, "203.0.113.9")
        for address in (None, "", "junk"):
            assert plan_of(policy, Caller(address, "t1")).abuse is None


def test_an_ipv6_caller_is_its_64() -> None:
    one, two, other = (plan_of(FULL, Caller(f"2001:db8::{net}:0:0:0:1")) for net in ("7", "7", "8"))
    assert one.keys == two.keys != other.keys
    near = plan_of(FULL, Caller("2001:db8:0:7:ffff::2"))
    assert near.keys == plan_of(FULL, Caller("2001:db8:0:7::1")).keys


# Exemptions


def test_allow_lists_free_from_every_limit() -> None:
    policy = Policy("1/s", "1/s", "1/s", allow=["10.0.0.0/8", "2001:db8::/48"], allow_users=["root"])
    for caller in (
        Caller("10.9.8.7", "t1", None, "u1"),
        Caller("::ffff:10.9.8.7"),
        Caller("2001:db8::5"),
        Caller("203.0.113.9", "t1", None, "root"),
        Caller(None, user="root"),
    ):
        assert policy.plan(caller) is None
    for caller in (Caller("11.0.0.1"), Caller(None), Caller("", user=""), Caller("203.0.113.9", user="Root")):
        assert policy.plan(caller) is not None


def test_a_list_of_allowed_users_does_not_free_the_anonymous() -> None:
    with pytest.raises(ConfigurationError, match="allow_users: '' cannot work"):
        Policy(edge="1/s", allow_users=["", "root"])
    assert Policy(edge="1/s", allow_users=["root"]).plan(Caller("203.0.113.9", user="")) is not None
    assert Policy(edge="1/s", allow_users=["root"]).plan(Caller("203.0.113.9")) is not None


# Costs


@pytest.mark.parametrize(
    ("cost", "kind"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)]
)
def test_a_cost_that_is_no_whole_number_is_an_error(cost: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="cost"):
        FULL.plan(Caller(user="u1", cost=cost))


def test_a_cost_arrives_in_the_plan() -> None:
    assert plan_of(FULL, Caller(user="u1", cost=0)).cost == 0
    assert plan_of(FULL, Caller(user="u1", cost=7)).cost == 7


# Abuse records


def test_an_abuse_record_is_found_again_by_its_identity() -> None:
    assert plan_of(FULL, ANYBODY).abuse == FULL.abuse_key("u1", "t1", None)
    assert plan_of(FULL, Caller(user="u1")).abuse == FULL.abuse_key("u1", None, "203.0.113.9")
    assert plan_of(Policy(user="1/s"), ANYBODY).abuse is None, "no ladder, no record"


@pytest.mark.parametrize("address", [None, "", "junk"])
def test_an_abuse_record_of_nobody_is_an_error(address: str | None) -> None:
    with pytest.raises(ConfigurationError, match="name a user, or an address"):
        FULL.abuse_key(None, "t1", address)


# Conclusions

ADMITTED = (0, 3, 1_000_000, None)
REFUSED = (2_500_000, 0, 5_000_000, None)
NEVER_ADMITTED = (NEVER, 0, 0, None)


def test_an_admitted_request_passes() -> None:
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), Outcome(True, [ADMITTED] * 4, 0))
    assert (verdict.allowed, verdict.status, verdict.retry_after) == (True, 200, 0.0)
    assert (verdict.delay, verdict.warned, verdict.banned, verdict.violated) == (0.0, False, False, ())
    assert bool(verdict)


def test_every_refusing_limit_is_named_and_the_longest_wait_counts() -> None:
    found = [ADMITTED, REFUSED, ADMITTED, (9_000_000, 0, 9_000_000, None)]
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), Outcome(False, found, 0))
    assert (verdict.allowed, verdict.status) == (False, 429)
    assert verdict.violated == ("tenant:requests", "POST /x")
    assert verdict.layers == ("tenant", "endpoint")
    assert verdict.retry_after == 9.0
    assert not verdict


def test_a_limit_that_never_admits_leaves_no_retry_after() -> None:
    found = [REFUSED, NEVER_ADMITTED, ADMITTED, ADMITTED]
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), Outcome(False, found, 0))
    assert verdict.retry_after is None and verdict.retry_after_us is None


def test_a_penalty_refuses_without_naming_a_limit() -> None:
    outcome = Outcome(False, (), 0, blocked_us=60_000_000)
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), outcome)
    assert (verdict.status, verdict.banned, verdict.violated, verdict.retry_after) == (429, False, (), 60.0)
    outcome.banned = True
    assert FULL.conclude(plan_of(FULL, ANYBODY), outcome).banned


def test_a_penalty_that_outlasts_the_limit_is_the_wait() -> None:
    outcome = Outcome(False, [REFUSED, ADMITTED, ADMITTED, ADMITTED], 0, strike=3, blocked_us=60_000_000)
    assert FULL.conclude(plan_of(FULL, ANYBODY), outcome).retry_after == 60.0
    outcome.blocked_us = 1_000_000
    assert FULL.conclude(plan_of(FULL, ANYBODY), outcome).retry_after == 2.5


def test_a_forgiven_request_passes_with_a_warning() -> None:
    outcome = Outcome(True, [ADMITTED, ADMITTED, REFUSED, ADMITTED], 0, strike=1)
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), outcome)
    assert (verdict.allowed, verdict.status, verdict.warned) == (True, 200, True)
    assert (verdict.violated, verdict.retry_after) == (("user",), 0.0)


def test_a_shadow_ban_delays_at_random_within_the_bounds_of_the_ladder() -> None:
    ladder = Ladder([Rung(shadow=60)], delay=(0.25, 0.75))
    policy = Policy(user="6/s", ladder=ladder)
    plan = plan_of(policy, Caller(user="u1"))
    delays = {policy.conclude(plan, Outcome(True, [ADMITTED], 0, shadowed=True)).delay for _ in range(200)}
    assert len(delays) > 100
    assert 0.25 <= min(delays) < 0.35 and 0.65 < max(delays) <= 0.75


def test_a_shadow_ban_delays_forgiven_requests_too() -> None:
    outcome = Outcome(True, [ADMITTED] * 3 + [REFUSED], 0, strike=1, shadowed=True)
    verdict = FULL.conclude(plan_of(FULL, ANYBODY), outcome)
    assert verdict.warned and verdict.delay >= 1.0


def test_a_shadow_ban_delays_refusals_too_so_that_none_is_told_by_its_speed() -> None:
    outcome = Outcome(False, [ADMITTED, ADMITTED, REFUSED, ADMITTED], 0, shadowed=True)
    assert 1.0 <= FULL.conclude(plan_of(FULL, ANYBODY), outcome).delay <= 3.0


def test_a_cooldown_or_ban_is_told_at_once() -> None:
    outcome = Outcome(False, (), 0, blocked_us=5_000_000, shadowed=True)
    assert FULL.conclude(plan_of(FULL, ANYBODY), outcome).delay == 0.0


@pytest.mark.parametrize("field", ["dry_run", "strike_anonymous"])
@pytest.mark.parametrize("value", ["false", "", 0, 1, None])
def test_a_switch_takes_true_or_false_and_nothing_that_looks_like_it(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(**{field: value})  # type: ignore[arg-type]
    assert (caught.value.field, caught.value.value) == (field, value)
    assert caught.value.remedy == "give True or False"


def test_tiers_without_a_default_are_refused_with_the_way_to_write_them() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(tenant={"free": {"requests": "60/minute"}})  # type: ignore[arg-type]
    assert caught.value.field == "tenant"
    assert 'Tiers({...}, default="free")' in caught.value.remedy


def test_a_dry_run_lets_through_and_reports_what_would_have_been() -> None:
    policy = Policy(user="6/s", ladder=Ladder.default(), dry_run=True)
    plan = plan_of(policy, Caller(user="u1"))
    verdict = policy.conclude(plan, Outcome(False, (), 0, blocked_us=5_000_000, banned=True))
    assert (verdict.allowed, verdict.status, verdict.banned, verdict.retry_after) == (True, 200, False, 0.0)
    assert (verdict.warned, verdict.delay, verdict.headers) == (False, 0.0, [])
    assert verdict.rehearsed is not None
    assert (verdict.rehearsed.status, verdict.rehearsed.banned, verdict.rehearsed.retry_after) == (
        429,
        True,
        5.0,
    )
    shadowed = policy.conclude(plan, Outcome(True, [ADMITTED], 0, shadowed=True))
    assert shadowed.delay == 0.0 and shadowed.rehearsed is not None and shadowed.rehearsed.delay >= 1.0


def test_ipv6_addresses_count_together_by_the_prefix_the_policy_names() -> None:
    def keys(policy: Policy) -> set[str]:
        plans = [policy.plan(Caller(address=f"2001:db8:1:{i:x}::1")) for i in range(20)]
        return {plan.keys[0] for plan in plans if plan is not None}

    assert len(keys(Policy(edge="1/minute"))) == 20
    assert len(keys(Policy(edge="1/minute", ipv6_prefix=48))) == 1
    assert len(keys(Policy(edge="1/minute", ipv6_prefix=60))) == 2


@pytest.mark.parametrize("prefix", [31, 129, 64.0, "64", True])
def test_an_ipv6_prefix_that_is_no_number_of_bits_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigurationError, match="ipv6_prefix"):
        Policy(edge="1/minute", ipv6_prefix=prefix)
