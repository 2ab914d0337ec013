"""Header fields on the way out of a WSGI app: ours added once, the app's own never overwritten."""

from __future__ import annotations

from typing import Any

from ..headers import NAMES
from .protocols import Headers, StartResponse, Write

_OURS = frozenset(name.lower() for name in NAMES)
_INITIALS = frozenset(initial for name in NAMES for initial in (name[0].lower(), name[0].upper()))
"""First letters of ours: most of an app's names need no closer look."""


def announcing(start_response: StartResponse, fields: Headers) -> StartResponse:
    """A `start_response` that adds the fields, again if the app starts over with `exc_info`.

    What the app said itself stays as it said it.

    >>> def start_response(status, headers): print(headers)
    >>> ours = [("Retry-After", "1"), ("RateLimit", "x")]
    >>> announcing(start_response, ours)("200 OK", [("retry-after", "9")])
    [('retry-after', '9'), ('RateLimit', 'x')]
    """

    def announce(status: str, headers: Headers, exc_info: Any = None) -> Write:
        said = headers if type(headers) is list else list(headers)
        added = fields
        for name, _ in said:
            if name and name[0] in _INITIALS and name.lower() in _OURS:
                taken = {name.lower() for name, _ in said}
                added = [field for field in fields if field[0].lower() not in taken]
                break
        # A new list: an app may use one for all its responses.
        if exc_info is None:
            return start_response(status, said + added)
        return start_response(status, said + added, exc_info)

    return announce
