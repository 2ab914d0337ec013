"""The wire format of what clients are told: one module, pure text.

Emits the fields of draft-ietf-httpapi-ratelimit-headers-11 (an Internet-Draft, not an RFC) and the older
X-RateLimit set:

    RateLimit-Policy: "tenant";q=600;w=60, "user";q=120;w=60
    RateLimit: "user";r=3;t=17

Names are quoted printable ASCII; q and r are whole requests, w and t whole seconds. A token bucket adds its
burst as `threshold-burst`. A window that is no whole number of seconds is scaled up to one, or not
advertised when that would take more than a thousand windows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import ceil, gcd, inf
from typing import Literal

from .plan import Found, Rule
from .rate import SECOND

Style = Literal["ietf", "x", "both", "none"]
STYLES: tuple[Style, ...] = ("ietf", "x", "both", "none")
NAMES = (
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-RateLimit-Warning",
    "X-RateLimit-Banned",
    "Retry-After",
)
"""Every field that `fields` may set."""


class Rules(tuple[Rule, ...]):
    """The rules that hold for one kind of request, and what is advertised about them."""

    advertised: str
    names: tuple[str, ...]

    def __new__(cls, rules: Sequence[Rule] = ()) -> Rules:
        self = super().__new__(cls, rules)
        self.names = tuple(quoted(rule.name) for rule in rules)
        self.advertised = ", ".join(filter(None, map(policy_item, rules)))
        return self


def quoted(name: str) -> str:
    r"""The name as a structured-field string (RFC 9651, section 3.3.3); what cannot stand there becomes "?".

    >>> print(quoted('say "hi"'))
    "say \"hi\""
    """
    printable = "".join(c if " " <= c <= "~" else "?" for c in name)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def policy_item(rule: Rule) -> str:
    """One member of RateLimit-Policy, or "" when the limit cannot be put in whole seconds.

    >>> from threshold import TokenBucket
    >>> policy_item(Rule.of("user", "user", TokenBucket("20 per 500 ms", burst=5)))
    '"user";q=40;w=1;threshold-burst=5'
    """
    limit = rule.limit
    times = SECOND // gcd(limit.window_us, SECOND)
    if times > 1000:
        return ""
    bucket = limit.algorithm == "token-bucket"
    quota = limit.rate.limit * times
    burst = f";threshold-burst={limit.capacity}" if bucket else ""
    return f"{quoted(rule.name)};q={quota};w={limit.window_us * times // SECOND}{burst}"


def binding(rules: Sequence[Rule], found: Sequence[Found]) -> int:
    """Index of the limit that binds: the refusal that lasts longest, else the smallest remaining share."""
    best = 0
    least = 2.0
    for i, (rule, answer) in enumerate(zip(rules, found)):  # noqa: B905 (0.1 us)
        retry = answer[0]
        if retry:  # below every share; NEVER lasts longest
            share = -float(retry) if retry > 0 else -inf
        else:
            share = answer[1] / rule.most if rule.most else 0.0
        if share < least:
            best = i
            least = share
    return best


def fields(
    rules: Rules, found: Sequence[Found], style: Style, retry_us: int | None, warned: bool, banned: bool
) -> list[tuple[str, str]]:
    """The header fields of one response.

    Args:
        found: what the limits said; empty for a caller under a cooldown or ban.
        retry_us: microseconds for Retry-After; 0 for an admitted request, None for never.
    """
    fields: list[tuple[str, str]] = []
    if style != "none":
        ietf = style != "x"
        if ietf and rules.advertised:
            fields.append(("RateLimit-Policy", rules.advertised))
        if found:
            i = binding(rules, found)
            _, remaining, reset_us, _ = found[i]
            if ietf:
                reset = -(-reset_us // SECOND)
                fields.append(("RateLimit", f"{rules.names[i]};r={remaining};t={reset}"))
            if style != "ietf":
                fields.append(("X-RateLimit-Limit", str(rules[i].most)))
                fields.append(("X-RateLimit-Remaining", str(remaining)))
                fields.append(("X-RateLimit-Reset", str(ceil(time.time() + reset_us / SECOND))))
        if warned:
            fields.append(("X-RateLimit-Warning", "true"))
        if banned:
            fields.append(("X-RateLimit-Banned", "true"))
    if retry_us:
        fields.append(("Retry-After", str(-(-retry_us // SECOND))))
    return fields
