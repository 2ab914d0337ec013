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
from functools import lru_cache
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
"""Every field that may be set."""

_AS_TEXT = {name.lower().encode(): name for name in NAMES}
_WARNING = (b"x-ratelimit-warning", b"true")
_BANNED = (b"x-ratelimit-banned", b"true")

Field = tuple[bytes, bytes]
"""A field as it goes over the wire, its name in lower case."""


class Rules(tuple[Rule, ...]):
    """The rules that hold for one kind of request, and what is advertised about them."""

    advertised: str
    names: tuple[bytes, ...]
    policy_fields: list[Field]
    """RateLimit-Policy, if anything can be advertised."""
    limit_fields: tuple[Field, ...]
    """X-RateLimit-Limit, for each rule."""

    def __new__(cls, rules: Sequence[Rule] = ()) -> Rules:
        self = super().__new__(cls, rules)
        self.names = tuple(quoted(rule.name).encode() for rule in rules)
        self.advertised = ", ".join(filter(None, map(policy_item, rules)))
        self.policy_fields = [(b"ratelimit-policy", self.advertised.encode())] if self.advertised else []
        self.limit_fields = tuple((b"x-ratelimit-limit", b"%d" % rule.most) for rule in rules)
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
    i = 0
    for (retry, remaining, _, _), rule in zip(found, rules):  # noqa: B905 (0.1 us)
        if retry:  # below every share; NEVER lasts longest
            share = -float(retry) if retry > 0 else -inf
        else:
            share = remaining / rule.most if rule.most else 0.0
        if share < least:
            best = i
            least = share
        i += 1  # noqa: SIM113 (0.1 us)
    return best


@lru_cache(1024)
def _reset_field(second: int) -> Field:
    """The field for one of the few instants that are announced at a time."""
    return b"x-ratelimit-reset", b"%d" % second


def wire(
    rules: Rules, found: Sequence[Found], style: Style, retry_us: int | None, warned: bool, banned: bool
) -> list[Field]:
    """The header fields of one response, as bytes.

    Args:
        found: what the limits said; empty for a caller under a cooldown or ban.
        retry_us: microseconds for Retry-After; 0 for an admitted request, None for never.
    """
    fields: list[Field] = []
    if style != "none":
        if style != "x":
            fields += rules.policy_fields
        if found:
            i = binding(rules, found) if len(found) > 1 else 0
            _, remaining, reset_us, _ = found[i]
            if style != "x":
                reset = -(-reset_us // SECOND)
                fields.append((b"ratelimit", b"%b;r=%d;t=%d" % (rules.names[i], remaining, reset)))
            if style != "ietf":
                fields.append(rules.limit_fields[i])
                fields.append((b"x-ratelimit-remaining", b"%d" % remaining))
                fields.append(_reset_field(ceil(time.time() + reset_us / SECOND)))
        if warned:
            fields.append(_WARNING)
        if banned:
            fields.append(_BANNED)
    if retry_us:
        fields.append((b"retry-after", b"%d" % -(-retry_us // SECOND)))
    return fields


def fields(
    rules: Rules, found: Sequence[Found], style: Style, retry_us: int | None, warned: bool, banned: bool
) -> list[tuple[str, str]]:
    """The same as text, the names as they are usually written."""
    told = wire(rules, found, style, retry_us, warned, banned)
    return [(_AS_TEXT[name], value.decode()) for name, value in told]
