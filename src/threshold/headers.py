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

from collections.abc import Callable, Sequence
from math import ceil, gcd, inf
from time import time
from typing import Generic, Literal, TypeVar

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

Field = tuple[bytes, bytes]
"""A field as it goes over the wire, its name in lower case."""


T = TypeVar("T", str, bytes)


class Words(Generic[T]):
    """What can be put in words beforehand about some rules: in str for WSGI, or in bytes for ASGI."""

    def __init__(
        self, rules: Sequence[Rule], advertised: str, name: Callable[[str], T], value: Callable[[str], T]
    ) -> None:
        self.policy: list[tuple[T, T]] = [(name("RateLimit-Policy"), value(advertised))] if advertised else []
        self.state: T = name("RateLimit")
        self.states: list[T] = [value(f"{quoted(rule.name).replace('%', '%%')};r=%d;t=%d") for rule in rules]
        self.limits: list[tuple[T, T]] = [
            (name("X-RateLimit-Limit"), value(str(rule.most))) for rule in rules
        ]
        self.remaining: T = name("X-RateLimit-Remaining")
        self.reset: T = name("X-RateLimit-Reset")
        self.retry: T = name("Retry-After")
        self.warning: tuple[T, T] = (name("X-RateLimit-Warning"), value("true"))
        self.banned: tuple[T, T] = (name("X-RateLimit-Banned"), value("true"))
        self.number: T = value("%d")


class Rules(tuple[Rule, ...]):
    """The rules that hold for one kind of request, and what is advertised about them."""

    mosts: list[int]
    """The most that each admits at once, at least 1: what a share is a share of."""
    advertised: str
    text: Words[str]
    """Names as they are usually written."""
    wire: Words[bytes]
    """Names in lower case, as ASGI and HTTP/2 have them."""

    def __new__(cls, rules: Sequence[Rule] = ()) -> Rules:
        self = super().__new__(cls, rules)
        self.mosts = [max(1, rule.most) for rule in rules]
        self.advertised = ", ".join(filter(None, map(policy_item, rules)))
        self.text = Words(rules, self.advertised, str, str)
        self.wire = Words(rules, self.advertised, lambda name: name.lower().encode(), str.encode)
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


def binding(rules: Rules, found: Sequence[Found]) -> int:
    """Index of the limit that binds: the refusal that lasts longest, else the smallest remaining share."""
    best = i = 0
    least = 2.0
    mosts = rules.mosts
    for answer in found:
        share = answer[1] / mosts[i]
        if answer[0]:  # below every share; NEVER lasts longest
            share = -float(answer[0]) if answer[0] > 0 else -inf
        if share < least:
            best = i
            least = share
        i += 1  # noqa: SIM113 (0.1 us)
    return best


def told(
    words: Words[T],
    rules: Rules,
    found: Sequence[Found],
    style: Style,
    retry_us: int | None = 0,
    warned: bool = False,
    banned: bool = False,
) -> list[tuple[T, T]]:
    """The header fields of one response.

    Args:
        words: `rules.text` or `rules.wire`.
        found: what the limits said; empty for a caller under a cooldown or ban.
        retry_us: microseconds for Retry-After; 0 for an admitted request, None for never.
    """
    fields: list[tuple[T, T]] = []
    if style != "none":
        if found:
            i = binding(rules, found) if len(found) > 1 else 0
            _, remaining, reset_us, _ = found[i]
            number = words.number
            fields = words.policy + [  # noqa: RUF005 (the types)
                (words.state, words.states[i] % (remaining, -(-reset_us // SECOND))),
                words.limits[i],
                (words.remaining, number % remaining),
                (words.reset, number % ceil(time() + reset_us / SECOND)),
            ]
            if style == "ietf":
                del fields[-3:]
            elif style == "x":
                del fields[:-3]
        elif style != "x":
            fields = words.policy.copy()
        if warned:
            fields.append(words.warning)
        if banned:
            fields.append(words.banned)
    if retry_us:
        fields.append((words.retry, words.number % -(-retry_us // SECOND)))
    return fields
