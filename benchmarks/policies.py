"""The policies that the web benchmarks run: one limit, and the shipped policy with every limit raised.

Raised, not simplified: the same endpoints, tiers, algorithms, windows, ladder and header fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from contenders import YEAR
from threshold import Ladder, Policy, Rate, SlidingWindow, Tiers, TokenBucket, presets
from threshold.plan import Limit

AMPLE = 10_000_000
TENANT, TIER, USER = "acme", "oak", "u1"
METHOD, PATH = "POST", "/api/posts"


def single(limit: int) -> Policy:
    """One token bucket per client address, over a year."""
    return Policy(edge=TokenBucket(Rate(limit, per=YEAR)))


def whole(limit: int = AMPLE, user_limit: int = AMPLE, ladder: Ladder | None = None) -> Policy:
    """The shipped policy with other numbers."""
    return Policy(
        edge=_raised(presets.EDGE, limit),
        tenant=Tiers({tier: _raised(row, limit) for tier, row in presets.TIERS.items()}, default="free"),
        user=_raised(presets.USER, user_limit),
        endpoints=_raised(presets.ENDPOINTS, limit),
        ladder=ladder or Ladder.default(),
        fail_closed=presets.FAIL_CLOSED,
    )


def _raised(table: Mapping[str, str], limit: int) -> dict[str, Limit]:
    return {
        pattern: _limit(presets._limit(pattern, text, Fraction(1)), limit) for pattern, text in table.items()
    }


def _limit(shipped: Limit, limit: int) -> Limit:
    rate = Rate(limit, per=Fraction(shipped.window_us, 1_000_000))
    if isinstance(shipped, SlidingWindow):
        return SlidingWindow(rate, precision=shipped.precision)
    return TokenBucket(rate)
