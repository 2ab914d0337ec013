"""Tiers: a tenant's tier and a request's category name one limit."""

from __future__ import annotations

import pytest

from threshold import ConfigurationError, Rate, SlidingWindow, Tiers, TokenBucket
from threshold.tiers import CATEGORIES, as_limit

TIERS = Tiers(
    {
        "free": {"requests": "60/minute", "writes": SlidingWindow("20/hour"), "ai": "0/day"},
        "oak": Rate(1000, per=60),
    },
    default="free",
)


def test_a_category_has_the_limit_that_is_written_for_it() -> None:
    assert TIERS.limit("free", "requests") == TokenBucket("60/minute")
    assert TIERS.limit("free", "writes") == SlidingWindow("20/hour")
    assert TIERS.limit("free", "ai").limit == 0


def test_a_category_left_out_shares_requests() -> None:
    assert TIERS.category("free", "uploads") == "requests"
    assert TIERS.limit("free", "uploads") == TokenBucket("60/minute")


def test_one_limit_for_a_tier_is_shared_by_all_categories() -> None:
    assert {TIERS.category("oak", category) for category in CATEGORIES} == {"requests"}
    assert TIERS.limit("oak", "ai") == TokenBucket("1000/minute")


@pytest.mark.parametrize("name", [None, "", "OAK", "root", "free\0"])
def test_an_unknown_tier_is_the_default_never_unlimited(name: str | None) -> None:
    assert TIERS.tier(name) == "free"


@pytest.mark.parametrize(
    ("table", "default", "field", "remedy"),
    [
        ({}, "free", "tiers", "free"),
        ("60/minute", "free", "tiers", "free"),
        ({"free": "60/minute"}, "oak", "default", "free"),
        ({"free": "60/minute"}, [], "default", "free"),
        ({"free": "60/minute"}, None, "default", "free"),
        ({"free": TokenBucket}, "free", "tiers.free", "call it: TokenBucket(...)"),
        ({"free": {"reads": "60/minute"}}, "free", "tiers.free", "requests, writes, uploads, ai"),
        ({"free": {"writes": "60/minute"}}, "free", "tiers.free", '"requests"'),
        ({"free": {"requests": "60 a minute"}}, "free", "tiers.free.requests", "100/minute"),
        ({"free": 60}, "free", "tiers.free", "TokenBucket"),
        ({"": "60/minute"}, "", "tiers", "non-empty"),
        ({"a\0b": "60/minute"}, "a\0b", "tiers", "non-empty"),
    ],
)
def test_a_table_that_cannot_work_is_refused_by_name(
    table: object, default: object, field: str, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Tiers(table, default)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert remedy in caught.value.remedy


def test_a_bare_rate_is_a_token_bucket() -> None:
    assert as_limit("user", "5/second") == as_limit("user", Rate(5, per=1)) == TokenBucket("5/second")
    window = SlidingWindow("5/second")
    assert as_limit("user", window) is window


def test_tiers_are_frozen() -> None:
    with pytest.raises(AttributeError):
        TIERS.default = "oak"  # type: ignore[misc]
