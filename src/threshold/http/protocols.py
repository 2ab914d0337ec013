"""The shapes of ASGI and WSGI that the shells speak, as type aliases; nothing here runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Write = Callable[[bytes], object]


class StartResponse(Protocol):
    """What a WSGI server hands an app to begin a response."""

    def __call__(self, status: str, headers: Headers, exc_info: Any = ..., /) -> Write: ...


WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
