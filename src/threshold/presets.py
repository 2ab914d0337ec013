"""The shipped tables: tiers, endpoints and the policy made of them, from the same public objects you use.

`paced` turns the whole policy into the same story at another speed: every window and penalty is divided by
the pace, so that a day passes in seconds. It is what the demo runs on.

General traffic gets token buckets. What must never be exceeded in any window (credentials, paid calls,
quotas of an hour and more) gets sliding windows.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypedDict

from .errors import ConfigurationError
from .escalation import Ladder, Rung
from .plan import Limit
from .policy import Policy
from .rate import HOUR, SECOND, Rate
from .sliding_window import SlidingWindow
from .tiers import Tiers
from .token_bucket import TokenBucket

EDGE = {
    "/auth/*": "50 per 5 minutes",
    "/api/uploads/*": "100/hour",
    "/api/ai/*": "500/day",
    "default": "1000/minute",
}

TIERS = {
    "free": {"requests": "60/minute", "writes": "20/hour", "uploads": "5/day", "ai": "0/day"},
    "seedling": {"requests": "100/minute", "writes": "50/hour", "uploads": "10/day", "ai": "25/day"},
    "sapling": {"requests": "500/minute", "writes": "200/hour", "uploads": "50/day", "ai": "100/day"},
    "oak": {"requests": "1000/minute", "writes": "500/hour", "uploads": "200/day", "ai": "500/day"},
    "evergreen": {"requests": "5000/minute", "writes": "2000/hour", "uploads": "1000/day", "ai": "2500/day"},
}

USER = {
    "POST /auth/login": "5 per 5 minutes",
    "GET|POST /auth/callback": "10 per 5 minutes",
    "POST /auth/token": "20/minute",
    "POST /auth/password-reset": "3/hour",
    "POST /auth/magic-link": "5 per 15 minutes",
    "GET|POST /auth/verify": "100/minute",
    "POST /auth/passkey/register": "5/hour",
    "DELETE /auth/passkey/{id}": "10/hour",
    "POST /auth/passkey": "20/minute",
    "GET|POST /session/validate": "30/minute",
    "POST /session/revoke": "30/minute",
    "POST /session/revoke-all": "3/hour",
    "GET /session": "30/minute",
    "DELETE /session/{id}": "20/minute",
    "POST /auth/device": "10/minute",
    "GET|POST /auth/device/poll": "12/minute",
    "/admin/*": "30/minute",
    "GET /api/subscription": "30/minute",
    "POST|PUT|PATCH|DELETE /api/subscription": "10/minute",
    "POST /api/posts": "10/hour",
    "PUT|PATCH /api/posts/{id}": "30/hour",
    "POST /api/posts/{id}/comments": "20 per 5 minutes",
    "POST /api/uploads/image": "20/hour",
    "POST /api/uploads/media": "10/hour",
    "/api/ai/fireside/*": "50/day",
    "/api/ai/draft": "20/day",
    "GET|POST /api/export/data": "10/hour",
    "POST /api/export/zip": "3/day",
    "/billing/*": "20/hour",
    "GET /api/check/username": "30/minute",
    "GET|POST /og/*": "100/hour",
    "default": "100/minute",
}

ENDPOINTS = {
    "POST /api/posts": "10/hour",
    "POST /api/signup": "3/day",
    "POST /api/password-reset": "3/hour",
    "POST /api/ai/fireside/send": "100/day",
    "DELETE /api/account": "1/day",
}

FAIL_CLOSED = ("/auth/*", "/billing/*")

_SHORTEST_US = 1_000


class Arguments(TypedDict):
    """The arguments of `Policy` that the shipped tables fill."""

    edge: dict[str, Limit]
    tenant: Tiers
    user: dict[str, Limit]
    endpoints: dict[str, Limit]
    ladder: Ladder
    fail_closed: tuple[str, ...]


def default_policy(pace: float = 1, *, name: str = "default") -> Policy:
    """The shipped policy.

    Args:
        pace: divide every window and every penalty by this, 1 to 10,000. Episodes (at least one second)
            and the delays of a shadow ban keep their length.

    Raises:
        ConfigurationError: when the pace is out of range.

    >>> default_policy(pace=60).ladder.rung(3).cooldown
    1.0
    """
    return Policy(**default_arguments(pace), name=name)


def default_arguments(pace: float = 1) -> Arguments:
    """The shipped tables as arguments of `Policy`: change some, and build your own from them.

    Args:
        pace: as for `default_policy`.

    >>> arguments = default_arguments()
    >>> arguments["edge"]["default"].limit, arguments["tenant"].limit("oak", "writes").limit
    (1000, 500)
    """
    if not isinstance(pace, (int, float, Fraction)) or not 1 <= pace <= 10_000:
        raise ConfigurationError("pace", pace, "give a number from 1 to 10,000")
    scale = Fraction(pace)
    return {
        "edge": _table(EDGE, scale),
        "tenant": Tiers({tier: _table(row, scale) for tier, row in TIERS.items()}, default="free"),
        "user": _table(USER, scale),
        "endpoints": _table(ENDPOINTS, scale),
        "ladder": _paced(Ladder.default(), scale),
        "fail_closed": FAIL_CLOSED,
    }


def _table(table: dict[str, str], scale: Fraction) -> dict[str, Limit]:
    return {name: _limit(name, text, scale) for name, text in table.items()}


def _limit(pattern: str, text: str, scale: Fraction) -> Limit:
    shipped = Rate.parse(text)
    period = max(_SHORTEST_US, round(shipped.period_us / scale))
    rate = Rate(shipped.limit, Fraction(period, SECOND))
    hard = "/auth/" in pattern or shipped.period_us >= HOUR
    if not hard:
        return TokenBucket(rate)
    return SlidingWindow(rate, precision=60 if period >= 60 * _SHORTEST_US else 10)


def _paced(ladder: Ladder, scale: Fraction) -> Ladder:
    if scale == 1:
        return ladder

    def seconds(value: object) -> float:
        return float(Fraction(value) / scale) if isinstance(value, (int, float)) else 0.0

    return Ladder(
        [
            Rung(rung.forgive, seconds(rung.cooldown), seconds(rung.shadow), seconds(rung.ban))
            for rung in ladder.rungs
        ],
        decay=max(1.0, seconds(ladder.decay)),
        delay=ladder.delay,
    )
