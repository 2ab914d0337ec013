"""Header fields on the way out of an ASGI app: ours added once, the app's own never overwritten."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from ..headers import NAMES, Field
from .protocols import Message, Send

_OURS = frozenset(name.lower().encode() for name in NAMES)
_INITIALS = b"".join({initial.lower() + initial.upper() for initial in (name[:1] for name in _OURS)})
"""First letters of ours: most of an app's names need no closer look."""
STARTS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})


def merged(headers: Iterable[tuple[bytes, bytes]] | None, fields: list[Field]) -> list[Field]:
    """The app's header fields and ours; what the app said itself stays as it said it.

    >>> merged([(b"Retry-After", b"9")], [(b"retry-after", b"1"), (b"ratelimit", b"x")])
    [(b'Retry-After', b'9'), (b'ratelimit', b'x')]
    """
    said = headers if type(headers) is list else list(headers or ())
    for name, _ in said:
        if name and name[0] in _INITIALS and name.lower() in _OURS:
            taken = {name.lower() for name, _ in said}
            return said + [field for field in fields if field[0] not in taken]
    return said + fields


def announcing(send: Send, fields: list[Field]) -> Send:
    """A `send` that adds the fields to the message that begins the response; all others pass untouched."""

    def announce(message: Message) -> Awaitable[None]:
        if message["type"] in STARTS:
            # A copy: an app may use one message, or one list, for all its responses.
            message = dict(message, headers=merged(message.get("headers"), fields))
        return send(message)

    return announce
