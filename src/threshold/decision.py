"""Decision: what one limit said.

A plain frozen value; every question a caller may ask is a field or a property. It is a tuple because a tuple
is the cheapest immutable value CPython can build, and one is built for every request.
"""

from __future__ import annotations

from typing import NamedTuple

from .rate import SECOND


class Decision(NamedTuple):
    """The answer of one limit to one request.

    With 5 requests per 5 minutes, after three of them at once:

    >>> d = Decision(allowed=True, limit=5, remaining=2, retry_after_us=0, reset_after_us=305_000_000)
    >>> d.allowed, d.remaining, d.retry_after, d.reset_after
    (True, 2, 0.0, 305.0)
    """

    allowed: bool
    """Whether the request may go on; if so it has been charged (unless this came from `peek`)."""
    limit: int
    """Requests the limit admits: in any window (sliding window), or at once (token bucket)."""
    remaining: int
    """Requests that would be admitted right now, after this one. Never negative."""
    retry_after_us: int | None
    """Microseconds until the same cost is admitted if nothing else comes; 0 when allowed, None for never."""
    reset_after_us: int
    """Microseconds until the limit is back in its initial state if nothing else comes."""

    @property
    def retry_after(self) -> float | None:
        """Seconds until the same cost is admitted; 0.0 when allowed, None when it can never be."""
        return None if self.retry_after_us is None else self.retry_after_us / SECOND

    @property
    def reset_after(self) -> float:
        """Seconds until the limit is back in its initial state."""
        return self.reset_after_us / SECOND

    def __bool__(self) -> bool:
        """A decision is true when it allows."""
        return self.allowed
