"""Header fields: the wire format, read back with an independent structured-fields parser (http-sf)."""

from __future__ import annotations

import time
from math import ceil
from typing import cast

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import Rate, SlidingWindow, TokenBucket
from threshold.headers import Rules, Style, policy_item, quoted, told
from threshold.plan import Found, Layer, Limit, Rule, binding
from threshold.token_bucket import NEVER


def rule(limit: Limit, name: str = "user", layer: Layer = "user") -> Rule:
    return Rule.of(name, layer, limit)


def parsed(value: str) -> list[tuple[str, dict[str, object]]]:
    """The members of a list of strings with parameters."""
    members = http_sf.parse(value.encode(), tltype="list")
    return [(item, dict(given)) for item, given in cast("list[tuple[str, dict[str, object]]]", members)]


def shown(
    rules: list[Rule],
    found: list[Found],
    style: Style = "both",
    retry_us: int | None = 0,
    warned: bool = False,
    banned: bool = False,
) -> dict[str, str]:
    lined = Rules(rules)
    pairs = told(lined.text, binding(lined, found), found, style, retry_us, warned, banned)
    assert len({name.lower() for name, _ in pairs}) == len(pairs), "a field is set once"
    return dict(pairs)


def state(remaining: int, reset_us: int = 17_000_000, retry_us: int = 0) -> Found:
    return (retry_us, remaining, reset_us, None)


LIMITS = st.one_of(
    st.builds(
        lambda limit, us, burst: TokenBucket(Rate(limit, us / 10**6), burst=burst if limit else None),
        st.integers(0, 10**9),
        st.integers(1000, 10**13),
        st.none() | st.integers(1, 10**9),
    ),
    st.builds(
        lambda limit, us: SlidingWindow(Rate(limit, us / 10**6)),
        st.integers(0, 10**9),
        st.integers(1000, 10**13),
    ),
)


@given(st.text())
def test_any_name_becomes_a_string_that_parses_back(name: str) -> None:
    [(back, _)] = parsed(quoted(name))
    assert back == "".join(c if " " <= c <= "~" else "?" for c in name)


@given(st.lists(st.tuples(st.text(max_size=20), LIMITS), max_size=4))
def test_the_policy_field_says_each_limit_in_whole_seconds(limits: list[tuple[str, Limit]]) -> None:
    rules = Rules([rule(limit, name) for name, limit in limits])
    members = parsed(rules.advertised) if rules.advertised else []
    told = [(name, limit) for name, limit in limits if policy_item(rule(limit, name))]
    assert len(members) == len(told)
    for (item, parameters), (_, limit) in zip(members, told, strict=True):
        assert isinstance(item, str)
        quota, window = parameters["q"], parameters["w"]
        assert isinstance(quota, int) and isinstance(window, int) and quota >= 0 and window >= 1
        assert quota * limit.window_us == limit.rate.limit * window * 1_000_000, "the same rate, exactly"
        if isinstance(limit, TokenBucket):
            assert parameters["threshold-burst"] == limit.capacity
        else:
            assert "threshold-burst" not in parameters
    for name, limit in limits:
        if limit.window_us % 1_000_000 == 0:
            assert policy_item(rule(limit, name)), "whole seconds are always advertised, as they are"
            assert f";w={limit.window_us // 1_000_000}" in policy_item(rule(limit, name))


@pytest.mark.parametrize(
    ("limit", "item"),
    [
        (SlidingWindow("5 per 5 minutes"), '"user";q=5;w=300'),
        (TokenBucket("100/minute", burst=20), '"user";q=100;w=60;threshold-burst=20'),
        (SlidingWindow("20 per 500 ms"), '"user";q=40;w=1'),
        (SlidingWindow("1 per 1 ms"), '"user";q=1000;w=1'),
        (SlidingWindow("3 per 1500 ms"), '"user";q=6;w=3'),
        (SlidingWindow("7 per 1001 ms"), '"user";q=7000;w=1001'),
        (SlidingWindow(Rate(7, per=0.001001)), ""),
        (SlidingWindow("0/day"), '"user";q=0;w=86400'),
    ],
)
def test_windows_below_a_second_are_scaled_or_not_advertised(limit: Limit, item: str) -> None:
    assert policy_item(rule(limit)) == item


def test_the_example_of_the_draft_is_what_we_send() -> None:
    rules = [
        rule(SlidingWindow("600/minute"), "tenant", "tenant"),
        rule(SlidingWindow("120/minute"), "user", "user"),
        rule(SlidingWindow("10/hour"), "posts-create", "endpoint"),
    ]
    told = shown(rules, [state(500), state(3), state(9)], "ietf")
    assert told == {
        "RateLimit-Policy": '"tenant";q=600;w=60, "user";q=120;w=60, "posts-create";q=10;w=3600',
        "RateLimit": '"user";r=3;t=17',
    }


@given(
    st.lists(
        st.tuples(
            LIMITS,
            st.one_of(st.just(0), st.just(NEVER), st.integers(1, 10**13)),
            st.floats(0, 1),
            st.integers(0, 10**14),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_state_field_parses_and_shows_the_limit_that_binds(
    takes: list[tuple[Limit, int, float, int]],
) -> None:
    rules = [rule(limit, f"limit {i}") for i, (limit, *_) in enumerate(takes)]
    found: list[Found] = [
        (retry, int(limit.limit * share), reset, None) for limit, retry, share, reset in takes
    ]
    told = shown(rules, found, "ietf")
    [(name, parameters)] = parsed(told["RateLimit"])
    i = binding(Rules(rules), found)
    assert name == f"limit {i}"
    assert parameters == {"r": found[i][1], "t": ceil(found[i][2] / 1_000_000)}
    refusing = [answer[0] for answer in found if answer[0]]
    if NEVER in refusing:
        assert found[i][0] == NEVER
    elif refusing:
        assert found[i][0] == max(refusing)
    else:
        shares = [
            answer[1] / rule.most if rule.most else 0 for rule, answer in zip(rules, found, strict=True)
        ]
        assert shares[i] == min(shares) and i == shares.index(min(shares))


def test_the_smallest_share_binds_not_the_smallest_number() -> None:
    rules = [rule(SlidingWindow("1000/minute"), "a"), rule(SlidingWindow("10/minute"), "b")]
    assert binding(Rules(rules), [state(100), state(9)]) == 0
    assert binding(Rules(rules), [state(500), state(4)]) == 1
    assert binding(Rules(rules), [state(500), state(5)]) == 0, "the first of equals"


def test_a_refusal_binds_before_any_remaining_share() -> None:
    rules = [rule(SlidingWindow("10/minute"), "a"), rule(SlidingWindow("10/minute"), "b")]
    assert binding(Rules(rules), [state(0), state(3, retry_us=1)]) == 1


def test_the_older_set_speaks_of_the_binding_limit_in_epoch_seconds() -> None:
    rules = [rule(SlidingWindow("100/minute"), "a"), rule(TokenBucket("60/minute", burst=10), "b")]
    before = time.time()
    told = shown(rules, [state(100), state(2, reset_us=8_000_000)], "x")
    after = time.time()
    assert set(told) == {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    assert (told["X-RateLimit-Limit"], told["X-RateLimit-Remaining"]) == ("10", "2")
    assert before + 8 <= int(told["X-RateLimit-Reset"]) <= after + 9


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("ietf", {"RateLimit-Policy", "RateLimit"}),
        ("x", {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}),
        (
            "both",
            {
                *("RateLimit-Policy", "RateLimit"),
                *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
            },
        ),
        ("none", set()),
    ],
)
def test_each_style_sends_its_own_set(style: Style, names: set[str]) -> None:
    rules = [rule(SlidingWindow("10/minute"))]
    assert set(shown(rules, [state(3)], style)) == names
    refused = shown(rules, [state(0, retry_us=5)], style, retry_us=5)
    assert set(refused) == names | {"Retry-After"}, "a refusal says when, in every style"


@given(st.integers(1, 10**15))
def test_retry_after_is_whole_seconds_rounded_up_and_at_least_one(retry_us: int) -> None:
    told = shown([rule(SlidingWindow("10/minute"))], [state(0, retry_us=retry_us)], retry_us=retry_us)
    seconds = int(told["Retry-After"])
    assert seconds >= 1
    assert 0 <= seconds * 1_000_000 - retry_us < 1_000_000, "never too early, never a second late"


@pytest.mark.parametrize("retry_us", [0, None])
def test_without_a_time_there_is_no_retry_after(retry_us: int | None) -> None:
    told = shown([rule(SlidingWindow("10/minute"))], [state(1)], retry_us=retry_us)
    assert "Retry-After" not in told


def test_a_warning_and_a_ban_are_said_once_and_only_when_true() -> None:
    rules = [rule(SlidingWindow("10/minute"))]
    plain = shown(rules, [state(1)])
    assert "X-RateLimit-Warning" not in plain and "X-RateLimit-Banned" not in plain
    assert shown(rules, [state(0)], warned=True)["X-RateLimit-Warning"] == "true"
    banned = shown(rules, [], retry_us=86_400_000_000, banned=True)
    assert banned["X-RateLimit-Banned"] == "true"
    assert banned["Retry-After"] == "86400"
    assert "RateLimit" not in banned and "RateLimit-Policy" in banned


def test_every_value_is_printable_ascii_whatever_the_names() -> None:
    rules = [rule(SlidingWindow("10/minute"), 'x\r\nSet-Cookie: a=b; "é\\\U0001f600')]
    for value in shown(rules, [state(3)]).values():
        assert value.isascii() and value.isprintable()
