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

from collections.abc import Sequence
from math import ceil, gcd
from time import time
from typing import Generic, Literal, Self, TypeVar

from .plan import Found, Lineup, Rule
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

    def __init__(self, rules: Sequence[Rule], advertised: str) -> None:
        name, value = self.name, self.value
        self.policy: list[tuple[T, T]] = [(name("RateLimit-Policy"), value(advertised))] if advertised else []
        self.openings = [f"{quoted(rule.name)};r=" for rule in rules]
        self.limits: list[tuple[T, T]] = [
            (name("X-RateLimit-Limit"), value(str(rule.most))) for rule in rules
        ]
        self.state: T = name("RateLimit")
        self.remaining: T = name("X-RateLimit-Remaining")
        self.reset: T = name("X-RateLimit-Reset")
        self.retry: T = name("Retry-After")
        self.warning: tuple[T, T] = (name("X-RateLimit-Warning"), value("true"))
        self.banned: tuple[T, T] = (name("X-RateLimit-Banned"), value("true"))

    def name(self, text: str) -> T:
        """The name of a field, as it goes into a response."""
        raise NotImplementedError

    def value(self, text: str) -> T:
        """Its value."""
        raise NotImplementedError

    def standing(self, i: int, remaining: int, reset_us: int, style: Style) -> list[tuple[T, T]]:
        """The fields that say what the limit `i` found, which binds."""
        raise NotImplementedError


class Text(Words[str]):
    """Names as they are usually written."""

    def name(self, text: str) -> str:
        return text

    def value(self, text: str) -> str:
        return text

    def standing(self, i: int, remaining: int, reset_us: int, style: Style) -> list[tuple[str, str]]:
        left = f"{remaining}"
        fields = [
            *self.policy,
            (self.state, f"{self.openings[i]}{left};t={-(-reset_us // SECOND)}"),
            self.limits[i],
            (self.remaining, left),
            (self.reset, f"{ceil(time() + reset_us / SECOND)}"),
        ]
        return fields if style == "both" else _of(style, fields)


class Wire(Words[bytes]):
    """Names in lower case, as ASGI and HTTP/2 have them."""

    def name(self, text: str) -> bytes:
        return text.lower().encode()

    def value(self, text: str) -> bytes:
        return text.encode()

    def standing(self, i: int, remaining: int, reset_us: int, style: Style) -> list[tuple[bytes, bytes]]:
        left = f"{remaining}"
        fields = [
            *self.policy,
            (self.state, f"{self.openings[i]}{left};t={-(-reset_us // SECOND)}".encode()),
            self.limits[i],
            (self.remaining, left.encode()),
            (self.reset, f"{ceil(time() + reset_us / SECOND)}".encode()),
        ]
        return fields if style == "both" else _of(style, fields)


def _of(style: Style, fields: list[tuple[T, T]]) -> list[tuple[T, T]]:
    """Those of all fields that belong to one style: the older set is the last three."""
    return {"both": fields, "ietf": fields[:-3], "x": fields[-3:], "none": []}[style]


class Rules(Lineup):
    """The rules that hold for one kind of request, and what is advertised about them."""

    advertised: str
    text: Text
    wire: Wire

    def __new__(cls, rules: Sequence[Rule] = ()) -> Self:
        self = super().__new__(cls, rules)
        self.advertised = ", ".join(filter(None, map(policy_item, rules)))
        self.text = Text(rules, self.advertised)
        self.wire = Wire(rules, self.advertised)
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


def told(
    words: Words[T],
    i: int,
    found: Sequence[Found],
    style: Style,
    retry_us: int | None = 0,
    warned: bool = False,
    banned: bool = False,
) -> list[tuple[T, T]]:
    """The header fields of one response.

    Args:
        words: `rules.text` or `rules.wire`.
        i: index of the limit that binds.
        found: what the limits said; empty for a caller under a cooldown or ban.
        retry_us: microseconds for Retry-After; 0 for an admitted request, None for never.
    """
    fields: list[tuple[T, T]] = []
    if style != "none":
        if found:
            fields = words.standing(i, found[i][1], found[i][2], style)
        elif style != "x":
            fields = words.policy.copy()
        if warned:
            fields.append(words.warning)
        if banned:
            fields.append(words.banned)
    if retry_us:
        fields.append((words.retry, words.value(f"{-(-retry_us // SECOND)}")))
    return fields
