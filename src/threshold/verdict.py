"""Caller: who asks, for what. Verdict: what the whole policy said. Pure data around a decision."""

from __future__ import annotations

from dataclasses import dataclass

from .headers import Field, Rules, Style, T, Words, told
from .plan import Outcome, binding
from .rate import SECOND
from .token_bucket import NEVER


@dataclass(slots=True)
class Caller:
    """Say who is asking, and for what.

    Args:
        address: client address as text, "203.0.113.9" or "2001:db8::1"; None when there is none.
        tenant: tenant id; None when the request belongs to no tenant.
        tier: the tenant's tier; None or an unknown one means the policy's default tier.
        user: id of the authenticated user; None for an anonymous caller.
        method: HTTP method, in capitals.
        path: decoded path, without the query.
        cost: requests to charge, 0 or more.

    >>> Caller(address="203.0.113.9", user="u1", method="POST", path="/api/posts").cost
    1
    """

    address: str | None = None
    tenant: str | None = None
    tier: str | None = None
    user: str | None = None
    method: str = "GET"
    path: str = "/"
    cost: int = 1


@dataclass(slots=True)
class Verdict:
    """Say what becomes of one request under the whole policy.

    >>> from threshold import Policy, Threshold, MemoryStore
    >>> verdict = Threshold(Policy(user="2/minute"), store=MemoryStore()).check(Caller(user="u1"))
    >>> verdict.allowed, verdict.status, verdict.violated, verdict.retry_after
    (True, 200, (), 0.0)
    """

    allowed: bool
    """Whether the request may go on."""
    status: int
    """200 when it may; 429 when a limit or penalty refuses it; 503 when the store is away and must not be."""
    outcome: Outcome
    """What the store found and did."""
    rules: Rules
    """The limits that were asked, in the order of `outcome.found`."""
    style: Style = "both"
    """Which header fields `headers` holds."""
    delay: float = 0.0
    """Seconds the response must be held back (shadow ban); nothing else may give it away."""
    warned: bool = False
    """Let through although a limit refused, with a warning."""
    banned: bool = False
    """Refused by a ban."""
    retry_after_us: int | None = 0
    """Microseconds until the request may be admitted; 0 when allowed, None for never or unknown."""
    rehearsed: Verdict | None = None
    """In a dry run: the verdict that would have been enforced."""

    @property
    def retry_after(self) -> float | None:
        """Seconds until the request may be admitted; 0.0 when allowed, None for never or unknown."""
        return None if self.retry_after_us is None else self.retry_after_us / SECOND

    @property
    def violated(self) -> tuple[str, ...]:
        """Names of all limits that refused, in the order of the layers."""
        return tuple([self.rules[i].name for i, answer in enumerate(self.outcome.found) if answer[0]])

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of all limits that refused: "edge", "tenant", "user", "endpoint"."""
        return tuple([self.rules[i].layer for i, answer in enumerate(self.outcome.found) if answer[0]])

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header fields of the response, names and values as text."""
        return self._told(self.rules.text)

    @property
    def wire(self) -> list[Field]:
        """The same as bytes, names in lower case: as ASGI wants them."""
        return self._told(self.rules.wire)

    def _told(self, words: Words[T]) -> list[tuple[T, T]]:
        found = self.outcome.found
        i = binding(self.rules, found)
        return told(words, i, found, self.style, self.retry_after_us, self.warned, self.banned)

    def __bool__(self) -> bool:
        """A verdict is true when it allows."""
        return self.allowed


def longest_retry(outcome: Outcome) -> int | None:
    """Microseconds until everything that refused admits again; None when something never will.

    >>> longest_retry(Outcome(False, [(5, 0, 5, None), (9, 0, 9, None)], at=0))
    9
    """
    longest = outcome.blocked_us
    for answer in outcome.found:
        retry = answer[0]
        if retry > longest:
            longest = retry
        elif retry == NEVER:
            return None
    return longest


NO_OUTCOME = Outcome(True, (), 0)
NO_RULES = Rules()


def passed(style: Style = "both") -> Verdict:
    """The verdict on a request that nothing limits."""
    return Verdict(True, 200, NO_OUTCOME, NO_RULES, style)


def shut(style: Style = "both") -> Verdict:
    """The verdict where nobody can decide and nobody may pass undecided."""
    return Verdict(False, 503, NO_OUTCOME, NO_RULES, style, retry_after_us=None)
