"""Verdict: every question a shell may ask, answered from one outcome."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from threshold import Caller, Policy, SlidingWindow, Verdict
from threshold.headers import Rules
from threshold.plan import Found, Outcome, Rule
from threshold.token_bucket import NEVER
from threshold.verdict import longest_retry, passed

RULES = Rules(
    [
        Rule.of("edge", "edge", SlidingWindow("9/minute")),
        Rule.of("user", "user", SlidingWindow("6/minute")),
    ]
)


def found(*retries: int) -> list[Found]:
    return [(retry, 0 if retry else 3, 17_000_000, None) for retry in retries]


@given(st.lists(st.integers(0, 10**12), max_size=4), st.integers(0, 10**12))
def test_the_wait_is_the_longest_of_limits_and_penalty(retries: list[int], blocked_us: int) -> None:
    outcome = Outcome(False, found(*retries), 0, blocked_us=blocked_us)
    assert longest_retry(outcome) == max([*retries, blocked_us])


def test_one_limit_that_never_admits_makes_the_wait_unknown() -> None:
    assert longest_retry(Outcome(False, found(5, NEVER), 0, blocked_us=9)) is None


def test_violated_limits_and_their_layers_stand_in_the_order_of_the_layers() -> None:
    verdict = Verdict(False, 429, Outcome(False, found(5, NEVER), 0), RULES)
    assert verdict.violated == ("edge", "user")
    assert verdict.layers == ("edge", "user")
    assert Verdict(False, 429, Outcome(False, (), 0), RULES).violated == ()


def test_retry_after_is_seconds_and_exact_in_microseconds() -> None:
    verdict = Verdict(False, 429, Outcome(False, found(1, 0), 0), RULES, retry_after_us=1)
    assert (verdict.retry_after, verdict.retry_after_us) == (0.000001, 1)
    assert dict(verdict.headers)["Retry-After"] == "1"


def test_a_request_that_nothing_limits_passes_without_header_fields() -> None:
    verdict = passed()
    assert (verdict.allowed, verdict.status, verdict.headers, verdict.retry_after) == (True, 200, [], 0.0)
    assert (verdict.violated, verdict.layers) == ((), ())


def test_a_verdict_is_true_when_it_allows() -> None:
    assert Verdict(True, 200, Outcome(True, (), 0), RULES)
    assert not Verdict(False, 429, Outcome(False, (), 0), RULES)


def test_a_shadow_ban_shows_in_no_header_field() -> None:
    plain = Verdict(True, 200, Outcome(True, found(0, 0), 0), RULES, "ietf")
    delayed = Verdict(True, 200, Outcome(True, found(0, 0), 0, shadowed=True), RULES, "ietf", delay=2.0)
    assert plain.headers == delayed.headers


def test_the_style_of_the_policy_reaches_the_verdict() -> None:
    policy = Policy(user="6/minute", headers="ietf")
    plan = policy.plan(Caller(user="u1"))
    assert plan is not None
    verdict = policy.conclude(plan, Outcome(True, found(0), 0))
    assert [name for name, _ in verdict.headers] == ["RateLimit-Policy", "RateLimit"]
