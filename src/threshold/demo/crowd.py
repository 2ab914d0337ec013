"""Crowd: one caller against all worker processes at once, and an audit of what was admitted.

Every request comes on a connection of its own, so that all workers get their share. Where the workers share
their state, the limit is the limit; where each keeps its own, the caller gets it once per worker.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from ..policy import Policy
from ..testing import worst_window
from ..verdict import Caller

REQUESTS = 120
_AT_ONCE = 12


@dataclass(frozen=True, slots=True)
class Audit:
    """What one caller's posts, sent to all workers at once, came to."""

    store: str
    workers: int
    sent: int
    admitted: int
    """The most admitted in any window, forgiven ones not counted."""
    limit: int

    @property
    def held(self) -> bool:
        """Whether the limit was used in full and never exceeded."""
        return self.admitted == self.limit


async def audit(url: str, policy: Policy, store: str, workers: int) -> Audit:
    """Send posts of one user over many connections and count what was admitted."""
    plan = policy.plan(Caller(user="crowd", method="POST", path="/api/posts"))
    assert plan is not None
    limit = next(rule.limit for rule in plan.rules if rule.layer == "endpoint")
    headers = {"x-tenant": "sequoia-times", "x-forwarded-for": "198.51.100.77"}
    fresh = httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=0)
    admitted: list[float] = []
    async with httpx.AsyncClient(base_url=url, limits=fresh, timeout=20) as http:
        token = (await http.post("/auth/token", json={"user": "crowd"}, headers=headers)).json()[
            "access_token"
        ]
        headers["authorization"] = f"Bearer {token}"
        loop = asyncio.get_running_loop()
        left = iter(range(REQUESTS))

        async def pump() -> None:
            for _ in left:
                sent = loop.time()
                answer = await http.post("/api/posts", json={"title": "crowd"}, headers=headers)
                if answer.status_code == 201 and "x-ratelimit-warning" not in answer.headers:
                    admitted.append(sent)

        await asyncio.gather(*(pump() for _ in range(_AT_ONCE)))
    worst = worst_window(admitted, limit.window_us / 1e6) if admitted else 0
    return Audit(store, workers, REQUESTS, worst, limit.limit)
