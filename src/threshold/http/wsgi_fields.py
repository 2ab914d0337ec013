"""Header fields on the way out of a WSGI app: ours added once, the app's own never overwritten."""

from __future__ import annotations

from typing import Any

from ..headers import NAMES
from .protocols import Headers, StartResponse, Write

_OURS = frozenset(name.lower() for name in NAMES)
_INITIALS = frozenset(initial for name in NAMES for initial in (name[0].lower(), name[0].upper()))
"""First letters of ours: most of an app's names need no closer look."""


def merged(headers: Headers, fields: Headers) -> Headers:
    """The app's header fields and ours; what the app said itself stays as it said it.

    >>> merged([("retry-after", "9")], [("Retry-After", "1"), ("RateLimit", "x")])
    [('retry-after', '9'), ('RateLimit', 'x')]
    """
    said = headers if type(headers) is list else list(headers)
    for name, _ in said:
        if name and name[0] in _INITIALS and name.lower() in _OURS:
            taken = {name.lower() for name, _ in said}
            return said + [field for field in fields if field[0].lower() not in taken]
    return said + fields


def announcing(start_response: StartResponse, fields: Headers) -> StartResponse:
    """A `start_response` that adds the fields, again if the app starts over with `exc_info`."""

    def announce(status: str, headers: Headers, exc_info: Any = None) -> Write:
        # A new list: an app may use one for all its responses.
        if exc_info is None:
            return start_response(status, merged(headers, fields))
        return start_response(status, merged(headers, fields), exc_info)

    return announce
