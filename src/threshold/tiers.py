"""Tiers: what a tenant may do, by its tier and by the category of the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import ConfigurationError
from .plan import Limit
from .rate import Rate, RateLike
from .token_bucket import TokenBucket

Category = Literal["requests", "writes", "uploads", "ai"]
CATEGORIES: tuple[Category, ...] = get_args(Category)

LimitLike = Limit | RateLike


def as_limit(field: str, value: LimitLike) -> Limit:
    """Turn what a user may write for a limit into one; a bare rate is a token bucket.

    >>> as_limit("user", "100/minute")
    TokenBucket(rate=Rate(limit=100, period_us=60000000), capacity=100)
    """
    if isinstance(value, (str, Rate, tuple)):
        try:
            return TokenBucket(value)
        except ConfigurationError as error:
            raise ConfigurationError(field, value, error.remedy) from None
    if not hasattr(value, "step"):
        raise ConfigurationError(field, value, 'give "100/minute", TokenBucket(...) or SlidingWindow(...)')
    if isinstance(value, type):
        raise ConfigurationError(field, value, f"call it: {value.__name__}(...)")
    return value


@dataclass(frozen=True, slots=True)
class Tiers:
    """Give each tier its limits, one per category of request.

    Args:
        table: tier name to limits: either one limit for everything, or a mapping from "requests",
            "writes", "uploads" and "ai" to limits. A category that is left out shares "requests".
        default: the tier of tenants whose tier is unknown or not given.

    Raises:
        ConfigurationError: for an unknown category, a missing "requests" or a default that is no tier.

    >>> table = {"free": {"requests": "60/minute", "writes": "20/hour"}, "pro": "1000/minute"}
    >>> tiers = Tiers(table, default="free")
    >>> tiers.limit("free", "uploads").limit, tiers.limit("no such tier", "writes").limit
    (60, 20)
    """

    table: Mapping[str, Mapping[str, LimitLike] | LimitLike]
    default: str
    limits: Mapping[str, Mapping[str, Limit]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.table, Mapping) or not self.table:
            raise ConfigurationError("tiers", self.table, 'give {"free": {"requests": "60/minute"}}')
        limits = {name: _row(name, row) for name, row in self.table.items()}
        if not isinstance(self.default, str) or self.default not in limits:
            raise ConfigurationError("default", self.default, f"give one of the tiers: {', '.join(limits)}")
        object.__setattr__(self, "limits", limits)

    def tier(self, name: str | None) -> str:
        """The tier that a tenant's tier name means: itself if it is known, else the default."""
        return name if name is not None and name in self.limits else self.default

    def category(self, name: str, category: Category) -> Category:
        """The category whose limit counts: itself if the tier has a limit for it, else requests."""
        return category if category in self.limits[self.tier(name)] else "requests"

    def limit(self, name: str, category: Category) -> Limit:
        """The limit of a tier for a category."""
        return self.limits[self.tier(name)][self.category(name, category)]


def _row(name: str, row: Mapping[str, LimitLike] | LimitLike) -> dict[str, Limit]:
    place = f"tiers.{name}"
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError("tiers", name, "give each tier a non-empty name")
    if not isinstance(row, Mapping):
        return {"requests": as_limit(place, row)}
    for category in row:
        if category not in CATEGORIES:
            raise ConfigurationError(place, category, f"categories are {', '.join(CATEGORIES)}")
    if "requests" not in row:
        raise ConfigurationError(place, dict(row), 'add a limit for "requests"')
    return {category: as_limit(f"{place}.{category}", limit) for category, limit in row.items()}
