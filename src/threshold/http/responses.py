"""What a refused request is answered: status, fields and body, as plain values for any shell.

Bodies are problem details (RFC 9457) with the problem types of draft-ietf-httpapi-ratelimit-headers-11, or a
short page or line of text for clients that prefer those.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from html import escape
from typing import Literal

from ..headers import Field
from ..rate import SECOND
from ..verdict import Verdict

Kind = Literal["json", "html", "text"]

_PROBLEMS = "https://iana.org/assignments/http-problem-types#"
_LONGEST_ACCEPT = 1024
_SAME_TYPES: dict[str, Kind] = {
    "application/problem+json": "json",
    "application/json": "json",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
}
_CONTENT_TYPES: dict[Kind, bytes] = {
    "json": b"application/problem+json",
    "html": b"text/html; charset=utf-8",
    "text": b"text/plain; charset=utf-8",
}
_TITLES = {
    "quota-exceeded": "Too many requests",
    "abnormal-usage-detected": "Abnormal usage detected",
    "temporary-reduced-capacity": "Service temporarily limited",
}


def refusal(verdict: Verdict, accept: str) -> tuple[list[Field], bytes]:
    """The header fields that belong to the body of a refusal, and the body.

    Args:
        accept: the request's Accept field, all lines joined with commas; "" for none.
    """
    kind = preferred(accept) if len(accept) <= _LONGEST_ACCEPT else "json"
    retry = verdict.retry_after_us
    seconds = -(-retry // SECOND) if retry else None
    if verdict.status == 503:
        problem = "temporary-reduced-capacity"
    else:
        problem = "abnormal-usage-detected" if verdict.banned else "quota-exceeded"
    now = int(time.time()) if kind == "json" else 0
    return _written(kind, problem, verdict.status, seconds, verdict.violated, now)


def answer(verdict: Verdict, fields: list[Field], accept: str | None) -> tuple[int, list[Field], bytes]:
    """Status, all header fields and body of a refusal; `fields` are those of the policy."""
    headers, body = refusal(verdict, accept or "")
    return verdict.status, headers + fields, body


@lru_cache(1024)
def _written(
    kind: Kind, problem: str, status: int, seconds: int | None, violated: tuple[str, ...], now: int
) -> tuple[list[Field], bytes]:
    """Fields and body. An attack gets the same few bodies over and over: they are written once a second."""
    title = _TITLES[problem]
    detail = _detail(status, seconds)
    if kind == "html":
        body = _page(title, detail)
    elif kind == "text":
        body = f"{title}. {detail}\n".encode()
    else:
        members = {
            "type": _PROBLEMS + problem,
            "title": title,
            "status": status,
            "detail": detail,
            "violated-policies": violated,
            "retry_after": seconds,
            "reset_at": None if seconds is None else _utc(now + seconds),
        }
        body = json.dumps(members, separators=(",", ":")).encode()
    fields = [
        (b"content-type", _CONTENT_TYPES[kind]),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return fields, body


@lru_cache(256)
def preferred(accept: str) -> Kind:
    """The kind of body that an Accept field asks for (RFC 9110, section 12.5.1); problem details in doubt.

    >>> preferred(""), preferred("*/*"), preferred("text/html,application/xml;q=0.9,*/*;q=0.8")
    ('json', 'json', 'html')
    """
    best: Kind = "json"
    most = 0.0
    weights: dict[Kind, float] = {"json": 0.0, "html": 0.0, "text": 0.0}
    exact: set[Kind] = set()
    for item in accept.split(","):
        media, *parameters = (part.strip(" \t").lower() for part in item.split(";"))
        weight = _weight(parameters)
        kind = _SAME_TYPES.get(media)
        if kind is not None:
            weights[kind] = max(weights[kind] if kind in exact else 0.0, weight)
            exact.add(kind)
        elif media in ("*/*", "application/*", "text/*"):
            for other in weights:
                fits = media == "*/*" or (media == "text/*") == (other != "json")
                if fits and other not in exact:
                    weights[other] = max(weights[other], weight)
    for kind, weight in weights.items():
        if weight > most:
            best = kind
            most = weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def _detail(status: int, seconds: int | None) -> str:
    if seconds is not None:
        return f"Try again in {seconds} second{'s' if seconds != 1 else ''}."
    return "Try again later." if status == 503 else "This request will never be admitted."


def _page(title: str, detail: str) -> bytes:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1><p>{escape(detail)}</p></body></html>\n"
    ).encode()


def _utc(second: int) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59Z"
